//! Race detection: the last accesses of every byte and the synchronisation between threads.

mod access;
mod clock;
mod order;
mod record;
mod rows;
mod shadow;
mod threads;

pub(crate) use access::Access;
pub(crate) use order::{Moment, Order, Strong};
pub(crate) use record::Clash;
pub(crate) use shadow::Shadow;
pub(crate) use threads::{Arrival, Threads};

/// The state of race detection. Records of global memory and the clock persist between launches.
#[derive(Default)]
pub(crate) struct Checker {
    pub order: Order,
    /// Records of the running block's shared memory.
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
    pub fn start_launch(&mut self, precise: bool) {
        if self.order.start_launch(precise) {
            self.global.clear();
        }
    }

    /// Starts a block with shared memory of `bytes` bytes.
    pub fn start_block(&mut self, block: u32, warps: usize, bytes: usize) {
        self.order.start_block(block, warps);
        self.shared.restart(bytes);
    }

    /// Exchanges the running block's state with that of another block.
    pub fn exchange(&mut self, threads: &mut Threads, shared: &mut Shadow) {
        std::mem::swap(&mut self.order.threads, threads);
        std::mem::swap(&mut self.shared, shared);
    }
}
