//! Residual blocking: what a box holds against a pair of hosts for some time after it has seen
//! something forbidden. It only remembers; a policy says what is remembered and what follows.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// More than this are never held at once; the eldest then go early.
const MAX: usize = 4096;

/// Keys that are held for a time.
#[derive(Clone, Debug)]
pub struct Residual<K> {
    lasts: Duration,
    until: HashMap<K, Duration>,
}

impl<K: Eq + Hash + Clone> Residual<K> {
    /// Holds each key for this long.
    pub fn new(lasts: Duration) -> Self {
        Self { lasts, until: HashMap::new() }
    }

    /// Holds a key from now on.
    pub fn hold(&mut self, key: K, now: Duration) {
        if self.until.len() >= MAX {
            self.until.retain(|_, until| *until > now);
        }
        if self.until.len() >= MAX {
            let first = self.until.iter().min_by_key(|(_, until)| **until);
            if let Some(key) = first.map(|(key, _)| key.clone()) {
                self.until.remove(&key);
            }
        }
        self.until.insert(key, now + self.lasts);
    }

    /// Whether a key is held.
    pub fn holds(&self, key: &K, now: Duration) -> bool {
        self.until.get(key).is_some_and(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_forgets_in_time() {
        let second = Duration::from_secs(1);
        let mut held = Residual::new(second * 10);
        held.hold("pair", second);
        assert!(held.holds(&"pair", second * 10) && !held.holds(&"other", second));
        assert!(!held.holds(&"pair", second * 11));
        let mut held = Residual::new(second * 10);
        for number in 0..=MAX {
            held.hold(number, second);
        }
        assert!(held.until.len() == MAX && held.holds(&MAX, second));
    }
}
