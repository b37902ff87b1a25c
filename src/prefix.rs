//! How far two sequences agree.

/// How many items `a` and `b` have in common at their start.
///
/// ```
/// use nmos::prefix::common_prefix;
///
/// assert_eq!(common_prefix([1, 2, 3], [1, 2, 4, 5]), 2);
/// assert_eq!(common_prefix("naïve".chars(), "naïf".chars()), 3);
/// // At their end.
/// assert_eq!(common_prefix("sea".bytes().rev(), "tea".bytes().rev()), 2);
/// ```
pub fn common_prefix<T: PartialEq>(
    a: impl IntoIterator<Item = T>,
    b: impl IntoIterator<Item = T>,
) -> usize {
    let pairs = a.into_iter().zip(b);
    pairs.take_while(|(a, b)| a == b).count()
}
