//! Race detection: the last accesses of every byte and the synchronisation between threads.

mod order;
mod shadow;

pub(crate) use order::{Moment, Order};
pub(crate) use shadow::{Access, Clash, Shadow};

/// The state of race detection. Records of global memory and the clock persist between launches.
#[derive(Default)]
pub(crate) struct Checker {
    pub order: Order,
    /// Records of shared memory.
    pub shared: Shadow,
    /// Records of global memory, by allocation.
    global: Vec<Option<Box<Shadow>>>,
}

impl Checker {
    /// The records of a global allocation.
    #[inline(always)]
    pub fn global(&mut self, id: u32, bytes: usize) -> (&Order, &mut Shadow) {
        let id = id as usize;
        if self.global.len() <= id {
            self.global.resize_with(id + 1, || None);
        }
        let shadow = self.global[id].get_or_insert_with(|| Box::new(Shadow::new(bytes)));
        (&self.order, shadow)
    }

    /// Drops the records of a freed allocation.
    pub fn forget(&mut self, id: u32) {
        if let Some(shadow) = self.global.get_mut(id as usize) {
            *shadow = None;
        }
    }

    /// Starts a launch: everything before it is ordered before everything in it.
    pub fn start_launch(&mut self, threads: usize, shared_bytes: usize) {
        if self.order.start_launch(threads) {
            self.global.clear();
        }
        self.shared = Shadow::new(shared_bytes);
    }
}
