//! What a server reports of its session by ParameterStatus: some fourteen names and values.

/// Names and values in the order in which the server first reported them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    values: Vec<Value>,
}

type Value = (Box<[u8]>, Box<[u8]>);

/// More names than any server reports; what comes above is not kept.
const NAMES_MAX: usize = 200;

impl Reported {
    /// Takes a report. Returns whether it changed anything.
    pub fn set(&mut self, name: &[u8], value: &[u8]) -> bool {
        let room = self.values.len() < NAMES_MAX;
        match self.values.iter_mut().find(|(known, _)| **known == *name) {
            Some((_, known)) if **known == *value => false,
            Some((_, known)) => {
                *known = value.into();
                true
            }
            None if room => {
                self.values.push((name.into(), value.into()));
                true
            }
            None => false,
        }
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(known, _)| *known == name.as_bytes()).map(|(_, value)| value)
    }

    /// All of it.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.values.iter().map(|(name, value)| (&**name, &**value))
    }

    /// What is here and not the same in `other`.
    pub fn differing_from<'a>(
        &'a self,
        other: &'a Reported,
    ) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.values
            .iter()
            .filter(|pair| !other.values.contains(pair))
            .map(|(name, value)| (&**name, &**value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_report_of_a_name_counts() {
        let mut a = Reported::default();
        assert!(a.set(b"TimeZone", b"UTC"));
        let b = a.clone();
        assert!(!a.set(b"TimeZone", b"UTC"));
        assert!(a.set(b"TimeZone", b"CET"));
        assert_eq!(a.get("TimeZone"), Some(&b"CET"[..]));
        assert_eq!(a.differing_from(&b).collect::<Vec<_>>(), [(&b"TimeZone"[..], &b"CET"[..])]);
        assert_eq!(a.differing_from(&a).count(), 0);
    }

    #[test]
    fn names_are_bounded() {
        let mut reported = Reported::default();
        for index in 0..1000 {
            reported.set(format!("x{index}").as_bytes(), b"1");
        }
        assert_eq!(reported.iter().count(), NAMES_MAX);
    }
}
