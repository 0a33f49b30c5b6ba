//! Small matters of language in messages.

/// `1 film`, `3 films`.
pub(crate) fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}
