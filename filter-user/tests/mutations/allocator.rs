//! Counts the memory of one thread: how much a call had at its worst. The readers start no threads, so what the calling
//! thread asks for is all they take. Gives out the system's memory, and changes nothing about it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes that this thread holds; below zero where it freed what another one asked for.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// Runs `call` and gives, beside its result, the most bytes it held at a time.
pub(crate) fn peak_of<R>(call: impl FnOnce() -> R) -> (R, usize) {
    let before = HELD.get();
    PEAK.set(before);
    let result = call();
    (result, (PEAK.get() - before).unsigned_abs())
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(bytes: isize) {
    // A thread that ends has no counters any more, and is not measured.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

#[expect(unsafe_code, reason = "the trait is unsafe, and only the allocator sees every allocation")]
// SAFETY: every call goes to `System` with its arguments unchanged, so `System`'s own guarantees hold. The counters are
// const-initialised and need no drop, so touching them allocates nothing and never comes back here.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: the caller's promises about `pointer` and `layout` are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both may exist while the bytes are moved.
        count(size.cast_signed());
        count(-layout.size().cast_signed());
        // SAFETY: the caller's promises about `pointer`, `layout` and `size` are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[test]
fn the_most_that_a_call_held_is_counted_and_what_it_gave_back_is_not() {
    let (_, peak) = peak_of(|| {
        drop(vec![0_u8; 1000]);
        let kept = vec![0_u8; 5000];
        let mut grown = Vec::<u8>::with_capacity(10);
        grown.reserve_exact(300);
        (kept, grown)
    });
    assert_eq!(peak, 5000 + 10 + 300);
    assert_eq!(peak_of(|| std::hint::black_box(1)).1, 0);
}
