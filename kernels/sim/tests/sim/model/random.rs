//! Random programs, on which the checker and the oracle must agree.

use ptx_sim::Order;

use super::oracle::races;
use super::program::{End, Fence, Op, Phase, Place, Program, Scope, Strength, Update, has_race};
use crate::common::listed;

/// Pseudo-random numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % u64::from(limit)) as u32
    }

    fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u32) as usize]
    }

    fn scope(&mut self) -> Scope {
        self.one_of(&[Scope::Cta, Scope::Gpu, Scope::Gpu])
    }

    fn strength(&mut self, weak: u32) -> Strength {
        let scope = self.scope();
        if self.below(10) < weak {
            return Strength::Weak;
        }
        self.one_of(&[Strength::Volatile, Strength::Relaxed(scope), Strength::Ordered(scope)])
    }

    /// A place: data first, flags later; `weak` is how often of ten its accesses are weak.
    fn place(&mut self) -> (Place, u32) {
        let index = self.below(4);
        let place = if self.below(3) == 0 { Place::Shared(index) } else { Place::Global(index) };
        (place, if index < 2 { 9 } else { 1 })
    }

    fn op(&mut self, value: &mut u32) -> Op {
        *value += 1;
        let (place, weak) = self.place();
        match self.below(8) {
            0 | 1 => Op::Write(place, self.strength(weak), *value),
            2 | 3 => Op::Read(place, self.strength(weak)),
            4 => {
                let flag = Place::Global(2 + self.below(2));
                let updates =
                    [Update::Relaxed, Update::Acquire, Update::Release, Update::AcquireRelease];
                Op::Exchange(flag, self.one_of(&updates), self.scope(), *value)
            }
            5 if *value > 8 => {
                let strength = self.strength(1);
                Op::Await(place, strength, 1 + self.below(*value))
            }
            _ => {
                let fences =
                    [Fence::Acquire, Fence::Release, Fence::AcquireRelease, Fence::Sc, Fence::Sc];
                Op::Fence(self.one_of(&fences), self.scope())
            }
        }
    }

    fn program(&mut self) -> Program {
        let (blocks, warps, lanes) = (1 + self.below(3), 1 + self.below(3), 1 + self.below(2));
        let mut threads = Vec::new();
        for block in 0..blocks {
            for warp in 0..warps {
                threads.extend((0..lanes).map(|lane| (block, warp, 3 * lane)));
            }
        }
        let mut value = 0;
        let most = 1 + self.below(4);
        let phases = (0..1 + self.below(3)).map(|_| {
            let mut thread = || {
                let count = self.below(most + 1);
                (0..count).map(|_| self.op(&mut value)).collect()
            };
            let code = threads.iter().map(|_| thread()).collect();
            let end = match self.below(6) {
                0 | 1 => End::Nothing,
                2 => End::Block,
                3 => End::Warp(self.one_of(&[u32::MAX, 0b1001, 0b1000, 0b1])),
                _ if warps > 1 => End::Part((self.below(2)..warps).collect()),
                _ => End::Block,
            };
            Phase { code, end }
        });
        let phases = phases.collect();
        Program { threads, phases }
    }
}

/// Every finding of a race is one of the oracle, and none is missed.
#[test]
fn the_checker_agrees_with_the_oracle() {
    let (mut racy, mut clean, mut endless) = (0, 0, 0);
    for seed in 0..6000 {
        let program = Random(seed * 0x9E37_79B9 + 1).program();
        let order = match seed % 3 {
            0 => Order::Forward,
            1 => Order::Reversed,
            _ => Order::Seeded(seed),
        };
        let Some((report, taken)) = program.run(order, 30_000) else {
            endless += 1;
            continue;
        };
        let expected = races(&program, &taken);
        let got = has_race(&report);
        assert_eq!(
            got,
            expected,
            "seed {seed}, {order:?}: the oracle says {expected}\n{}\n{}{}",
            program.ptx(),
            taken.iter().map(|taken| format!("{taken:?}\n")).collect::<String>(),
            listed(&report)
        );
        *if got { &mut racy } else { &mut clean } += 1;
    }
    assert!(racy > 1000 && clean > 1000 && endless < 3000, "{racy} {clean} {endless}");
}
