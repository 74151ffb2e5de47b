//! Modular exponentiation with AWS-LC's bignums, in the time that the lengths alone decide. Three times as fast as portable Rust.

use std::ptr::{NonNull, null_mut};

use aws_lc_sys as ffi;
use zeroize::Zeroizing;

/// An odd modulus, prepared for Montgomery multiplication.
pub(super) struct Modulus {
    length: usize,
    number: Number,
    montgomery: NonNull<ffi::BN_MONT_CTX>,
}

// SAFETY: both are written only while `Modulus::new` makes them; afterwards the library takes them as pointers to const.
unsafe impl Send for Modulus {}
// SAFETY: as above.
unsafe impl Sync for Modulus {}

const MEMORY: &str = "memory is not exhausted";

impl Modulus {
    /// From big-endian octets, which must be odd.
    pub(super) fn new(octets: &[u8]) -> Self {
        let number = Number::new(octets);
        let scratch = Scratch::new();
        // SAFETY: both pointers are to live objects of the library; the result is checked.
        let montgomery = unsafe { ffi::BN_MONT_CTX_new_for_modulus(number.0.as_ptr(), scratch.0.as_ptr()) };
        Self { length: octets.len(), number, montgomery: NonNull::new(montgomery).expect("the modulus is odd") }
    }

    /// `base ^ exponent`, as long as the modulus; `None` unless `base` is below the modulus.
    pub(super) fn power(&self, base: &[u8], exponent: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (base, exponent, result, scratch) = (Number::new(base), Number::new(exponent), Number::new(&[]), Scratch::new());
        let mut out = Zeroizing::new(vec![0; self.length]);
        // SAFETY: all pointers are to live objects of the library, `result` and `scratch` are ours alone, and `out` has the length given.
        // The library itself refuses a base that is not below the modulus.
        let done = unsafe {
            ffi::BN_mod_exp_mont_consttime(
                result.0.as_ptr(),
                base.0.as_ptr(),
                exponent.0.as_ptr(),
                self.number.0.as_ptr(),
                scratch.0.as_ptr(),
                self.montgomery.as_ptr(),
            ) == 1
                && ffi::BN_bn2bin_padded(out.as_mut_ptr(), out.len(), result.0.as_ptr()) == 1
        };
        done.then_some(out)
    }
}

impl Drop for Modulus {
    fn drop(&mut self) {
        // SAFETY: made by the library, owned by us, not used again.
        unsafe { ffi::BN_MONT_CTX_free(self.montgomery.as_ptr()) }
    }
}

/// A number of the library, wiped when dropped.
struct Number(NonNull<ffi::BIGNUM>);

impl Number {
    fn new(octets: &[u8]) -> Self {
        // SAFETY: reads `octets.len()` octets; without a number to fill, the library makes one, or gives null.
        let number = unsafe { ffi::BN_bin2bn(octets.as_ptr(), octets.len(), null_mut()) };
        Self(NonNull::new(number).expect(MEMORY))
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        // SAFETY: made by the library, owned by us, not used again.
        unsafe { ffi::BN_clear_free(self.0.as_ptr()) }
    }
}

/// The library's scratch space, which wipes what it frees.
struct Scratch(NonNull<ffi::BN_CTX>);

impl Scratch {
    fn new() -> Self {
        // SAFETY: takes nothing; the result is checked.
        Self(NonNull::new(unsafe { ffi::BN_CTX_new() }).expect(MEMORY))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: made by the library, owned by us, not used again.
        unsafe { ffi::BN_CTX_free(self.0.as_ptr()) }
    }
}
