//! What `general.file_type` counts: mixtures of quantisations, by the names that files go by.
//!
//! The numbers are those of `llama_ftype` in llama.cpp's `llama.h`.

/// In the order of their numbers; empty where a number was never used or is no more.
const NAMES: [&str; 42] = [
    "F32",
    "F16",
    "Q4_0",
    "Q4_1",
    "",
    "",
    "",
    "Q8_0",
    "Q5_0",
    "Q5_1",
    "Q2_K",
    "Q3_K_S",
    "Q3_K_M",
    "Q3_K_L",
    "Q4_K_S",
    "Q4_K_M",
    "Q5_K_S",
    "Q5_K_M",
    "Q6_K",
    "IQ2_XXS",
    "IQ2_XS",
    "Q2_K_S",
    "IQ3_XS",
    "IQ3_XXS",
    "IQ1_S",
    "IQ4_NL",
    "IQ3_S",
    "IQ3_M",
    "IQ2_S",
    "IQ2_M",
    "IQ4_XS",
    "IQ1_M",
    "BF16",
    "",
    "",
    "",
    "TQ1_0",
    "TQ2_0",
    "MXFP4_MOE",
    "NVFP4",
    "Q1_0",
    "Q2_0",
];

/// The name of file type `number`; `None` for one that is not known.
pub(super) fn name(number: u32) -> Option<String> {
    let name = NAMES.get(number as usize).filter(|name| !name.is_empty())?;
    Some((*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use llama_cpp_sys_2 as sys;

    #[test]
    fn numbers_are_those_of_llama_cpp() {
        for (number, says) in [
            (sys::LLAMA_FTYPE_ALL_F32, "F32"),
            (sys::LLAMA_FTYPE_MOSTLY_Q8_0, "Q8_0"),
            (sys::LLAMA_FTYPE_MOSTLY_Q4_K_M, "Q4_K_M"),
            (sys::LLAMA_FTYPE_MOSTLY_IQ3_M, "IQ3_M"),
            (sys::LLAMA_FTYPE_MOSTLY_IQ4_XS, "IQ4_XS"),
            (sys::LLAMA_FTYPE_MOSTLY_BF16, "BF16"),
            (sys::LLAMA_FTYPE_MOSTLY_MXFP4_MOE, "MXFP4_MOE"),
        ] {
            assert_eq!(name(number).as_deref(), Some(says));
        }
        for unknown in [4, 33, 42, u32::MAX] {
            assert_eq!(name(unknown), None, "{unknown}");
        }
    }
}
