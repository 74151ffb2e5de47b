//! Who may have tickets, and for what: the users, services and the ticket granting service of this machine's realm, with their keys.
//!
//! - [`entry`]: what is known of one principal. [`strength`]: how a ticket was earned. [`totp`]: secrets of one-time codes.
//! - [`book`]: all that is kept of the realm. [`password`]: which passwords are refused. [`register`]: the book on disk and the table that
//!   follows it; `stored` is the file's form.
//!
//! [`Principals`] is what the KDC looks into: one step, whether there are ten entries or a hundred thousand.
pub mod book;
pub mod entry;
mod linux;
pub mod password;
pub mod register;
mod stored;
pub mod strength;
pub mod totp;

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::name::Principal;
pub use book::{Book, Names};
pub use entry::{Entry, Keys, Kind, VersionedKeys, Versions};
pub use linux::FileError;
pub use register::{Register, RegisterError, SharedRegister};
pub use strength::Strength;
pub use totp::TotpSecret;

/// An entry found by its name, which is kept nowhere else: the fewer places a look-up touches, the less it matters how many there are.
#[derive(Debug)]
struct Named(Arc<Entry>);

impl Borrow<[String]> for Named {
    fn borrow(&self) -> &[String] {
        &self.0.name.components
    }
}

impl Hash for Named {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let name: &[String] = self.borrow();
        name.hash(state);
    }
}

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Named {}

type Table = HashSet<Named>;

/// The principals of this machine's realm, shared by all who look them up and the one who changes them. A clone is the same table.
///
/// A principal is found by its components alone: its name type is a hint (RFC 4120 §6.2), and its realm is the realm.
#[derive(Clone, Debug, Default)]
pub struct Principals(Arc<RwLock<Table>>);

impl Principals {
    /// Nobody yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is known of `name`. What was found stays as it was, whatever changes meanwhile.
    pub fn find(&self, name: &Principal) -> Option<Arc<Entry>> {
        self.read().get(name.components.as_slice()).map(|named| named.0.clone())
    }

    /// Adds an entry, in place of the one of that name if there is one, which is returned.
    pub fn insert(&self, entry: Entry) -> Option<Arc<Entry>> {
        self.write().replace(Named(Arc::new(entry))).map(|named| named.0)
    }

    /// Forgets `name`.
    pub fn remove(&self, name: &Principal) -> Option<Arc<Entry>> {
        self.write().take(name.components.as_slice()).map(|named| named.0)
    }

    /// Puts `entries` in the place of all there were, at once: nobody sees half of both.
    #[expect(clippy::mutable_key_type, reason = "the name is all that is compared, and it stays; what changes is what keys remember")]
    pub fn replace(&self, entries: impl IntoIterator<Item = Entry>) {
        let mut table = Table::new();
        for entry in entries {
            table.replace(Named(Arc::new(entry)));
        }
        *self.write() = table;
    }

    /// All entries, in no order.
    pub fn all(&self) -> Vec<Arc<Entry>> {
        self.read().iter().map(|named| named.0.clone()).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        // Every change is one assignment: a panic elsewhere leaves no half of it behind.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
