//! Defects on demand, so that a simulation can prove that it would see them.
//!
//! With the feature `plant`, one defect can be switched on for the current thread. Without it, which is every build of the
//! node, [`is`] is `false` when compiled and nothing of a defect is left. The node does not build with the feature.

/// Whether this build can plant defects.
pub const PLANTED: bool = cfg!(feature = "plant");

/// Whether the defect of that name is planted in this thread.
#[cfg(not(feature = "plant"))]
#[inline(always)]
pub const fn is(_name: &str) -> bool {
    false
}

#[cfg(feature = "plant")]
pub use on_demand::{is, set};

#[cfg(feature = "plant")]
mod on_demand {
    extern crate std;

    use core::cell::Cell;

    std::thread_local! {
        static PLANT: Cell<Option<&'static str>> = const { Cell::new(None) };
    }

    /// Plants the defect of that name in this thread, or none.
    pub fn set(name: Option<&'static str>) {
        PLANT.set(name);
    }

    /// Whether the defect of that name is planted in this thread.
    pub fn is(name: &str) -> bool {
        PLANT.get() == Some(name)
    }
}
