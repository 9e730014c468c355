//! Buffers that the connections of a worker share, one connection at a time.
//!
//! A buffer can be reached only through its [`Loan`], and is emptied when the loan ends: by a
//! return, a `?` or a panic. So it never passes bytes of one connection on to the next.

use std::{
    cell::{RefCell, RefMut},
    ops::{Deref, DerefMut},
};

/// A buffer that is empty unless it is lent.
#[derive(Default)]
pub(crate) struct SharedBuffer<B>(RefCell<B>);

/// Exclusive use of a [`SharedBuffer`], until this value is dropped.
pub(crate) struct Loan<'a, B: Empty>(RefMut<'a, B>);

/// A buffer that can be emptied.
pub(crate) trait Empty {
    fn is_empty(&self) -> bool;

    /// Removes the content, and keeps the memory.
    fn empty(&mut self);
}

impl<B: Empty> SharedBuffer<B> {
    /// Lends the buffer, which is empty.
    ///
    /// # Panics
    /// If it is already lent: two connections never use a buffer at the same time.
    pub(crate) fn lend(&self) -> Loan<'_, B> {
        let mut buffer = self.0.borrow_mut();
        debug_assert!(buffer.is_empty(), "bytes of another connection");
        // Costs nothing, and also works where the assertion is compiled out.
        buffer.empty();
        Loan(buffer)
    }
}

impl<B: Empty> Deref for Loan<'_, B> {
    type Target = B;

    fn deref(&self) -> &B {
        &self.0
    }
}

impl<B: Empty> DerefMut for Loan<'_, B> {
    fn deref_mut(&mut self) -> &mut B {
        &mut self.0
    }
}

impl<B: Empty> Drop for Loan<'_, B> {
    fn drop(&mut self) {
        self.0.empty();
    }
}

impl Empty for Vec<u8> {
    fn is_empty(&self) -> bool {
        self.is_empty()
    }

    fn empty(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn fails(shared: &SharedBuffer<Vec<u8>>) -> Result<(), ()> {
        shared.lend().extend(b"left by a return");
        let mut loan = shared.lend();
        loan.extend(b"left by an error");
        Err::<(), _>(())?;
        loan.clear();
        Ok(())
    }

    #[test]
    fn a_loan_leaves_nothing() {
        let shared = SharedBuffer::<Vec<u8>>::default();
        assert_eq!(fails(&shared), Err(()));
        assert_eq!(*shared.lend(), b"");
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            shared.lend().extend(b"left by a panic");
            let mut loan = shared.lend();
            loan.extend(b"left by a panic");
            let end = loan.len();
            loan[end] = 0;
        }));
        assert!(panicked.is_err());
        assert_eq!(*shared.lend(), b"");
    }

    #[test]
    #[should_panic(expected = "already borrowed")]
    fn a_buffer_has_one_user() {
        let shared = SharedBuffer::<Vec<u8>>::default();
        let _first = shared.lend();
        let _second = shared.lend();
    }
}
