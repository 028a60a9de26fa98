//! Which version of the control plane both ends speak.
//!
//! **For:** the first call of every connection.

/// The versions that this server speaks.
pub const SPOKEN: [u32; 1] = [1];

/// Picks the highest version that both ends speak.
pub fn common(offered: &[u32]) -> Option<u32> {
    SPOKEN.into_iter().filter(|version| offered.contains(version)).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_agreed_on_or_refused() {
        assert_eq!(common(&[1]), Some(1));
        assert_eq!(common(&[7, 1]), Some(1));
        assert_eq!(common(&[2]), None);
        assert_eq!(common(&[]), None);
    }
}
