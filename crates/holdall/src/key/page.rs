//! Keys of a listing, kept in one text: a page of thousands costs a few allocations.

/// A page of keys, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyPage {
    text: String,
    /// Where each key ends in the text.
    ends: Vec<usize>,
}

impl KeyPage {
    /// Appends a key.
    pub fn push(&mut self, key: &str) {
        self.text.push_str(key);
        self.ends.push(self.text.len());
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The keys, one after the other.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let key = &self.text[start..end];
            start = end;
            key
        })
    }
}

impl<'k> FromIterator<&'k str> for KeyPage {
    fn from_iter<T: IntoIterator<Item = &'k str>>(keys: T) -> Self {
        let mut page = Self::default();
        keys.into_iter().for_each(|key| page.push(key));
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_one_by_one() {
        let keys = ["a", "é/b", "c"];
        let page: KeyPage = keys.into_iter().collect();
        assert_eq!(page.iter().collect::<Vec<_>>(), keys);
        assert_eq!((page.len(), page.is_empty()), (3, false));
        assert_eq!(KeyPage::default().iter().count(), 0);
    }
}
