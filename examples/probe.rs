use nmos::model::*;
use nmos::oracle::*;
use nmos::telemetry::Hub;
use nmos::units::*;
#[path = "../tests/common/mod.rs"]
mod common;
use common::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let mib: u64 = a[2].parse().unwrap();
    let file = if a.len() > 3 { a[3].as_str() } else { ORACLE };
    let t0 = std::time::Instant::now();
    let mut o = layer_oracle(file, Bytes::mib(mib));
    println!(
        "open {:?} plan pinned {} ring {} streamed {}",
        t0.elapsed(),
        o.plan().pinned_bytes >> 20,
        o.plan().ring_bytes >> 20,
        o.plan().streamed_bytes >> 20
    );
    let ids: Vec<i32> = (0..60).map(|i| 100 + i * 7).collect();
    let w = |n| WidthClass {
        min: n,
        max: n.max(64),
    };
    match a[1].as_str() {
        "width" => {
            o.pass(&TokenTree::chain(&tokens(&ids[..40]), 40), w(1))
                .unwrap();
            o.commit(&(0..40).collect::<Vec<_>>());
            let mut refs: Option<Vec<f32>> = None;
            for n in [
                8usize, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 16, 17, 24, 31, 32, 33, 40, 48, 56,
                60, 62, 63,
            ] {
                let t: Vec<i32> = (0..n as i32).map(|i| 2000 + i * 13).collect();
                let out = o
                    .pass(
                        &TokenTree::chain(&tokens(&t), 0),
                        WidthClass { min: n, max: n },
                    )
                    .unwrap();
                let r = out.logits.of(0).unwrap().to_vec();
                if let Some(x) = &refs {
                    print!("{}:{:.1e} ", n, max_diff(x, &r));
                } else {
                    refs = Some(r);
                }
            }
            println!();
            // position in batch: 20 tokens chain, row 12 vs same token computed after committing 12
            let t: Vec<TokenId> = tokens(&(0..20).map(|i| 2000 + i * 13).collect::<Vec<_>>());
            let big = o
                .pass(&TokenTree::chain(&t, 0), WidthClass::BATCH)
                .unwrap()
                .logits
                .of(15)
                .unwrap()
                .to_vec();
            o.pass(&TokenTree::chain(&t[..9], 9), WidthClass::BATCH)
                .unwrap();
            o.commit(&(0..9).collect::<Vec<_>>());
            let small = o
                .pass(&TokenTree::chain(&t[9..16], 0), WidthClass::BATCH)
                .unwrap()
                .logits
                .of(6)
                .unwrap()
                .to_vec();
            println!("split at 9: {:.1e}", max_diff(&big, &small));
        }
        _ => {
            for k in [8usize, 9, 16, 32, 63, 1] {
                let t: Vec<TokenId> =
                    tokens(&(0..k as i32).map(|i| 2000 + i * 13).collect::<Vec<_>>());
                o.pass(&TokenTree::chain(&t, k - 1), w(1)).unwrap();
                let b0 = o.bytes_read();
                let r0 = o.reading_us();
                let t0 = std::time::Instant::now();
                let n = 8;
                let mut st = 0;
                for _ in 0..n {
                    let c = o.pass(&TokenTree::chain(&t, 0), w(1)).unwrap();
                    st += c.cost.stall_us;
                }
                let dt = t0.elapsed().as_secs_f64() / n as f64;
                println!(
                    "K={k} pass {:.3}s stall {:.3} MB/pass {:.1} read {:.2} GB/s (busy {:.2})",
                    dt,
                    st as f64 / 1e6 / n as f64,
                    (o.bytes_read() - b0) as f64 / 1e6 / n as f64,
                    (o.bytes_read() - b0) as f64 / 1e9 / n as f64 / dt,
                    (o.bytes_read() - b0) as f64 / 1e3 / (o.reading_us() - r0).max(1) as f64
                );
            }
        }
    }
}
