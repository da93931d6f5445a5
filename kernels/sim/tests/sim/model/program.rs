//! Small concurrent programs, and the PTX that runs them and logs what they do.

use std::fmt::Write as _;

use ptx_sim::{Kind, Order, Report, Settings};

use crate::common::Bench;

/// A place in memory: a word of global memory, or of the shared memory of each block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    Global(u32),
    Shared(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Cta,
    Gpu,
}

/// The strength of a load or store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strength {
    Weak,
    Volatile,
    Relaxed(Scope),
    /// A load that acquires, or a store that releases.
    Ordered(Scope),
}

/// The order of a read-modify-write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    Relaxed,
    Acquire,
    Release,
    AcquireRelease,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    Acquire,
    Release,
    AcquireRelease,
    Sc,
}

/// One step of a thread. Each written value occurs once in a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Write(Place, Strength, u32),
    Read(Place, Strength),
    Exchange(Place, Update, Scope, u32),
    /// Reads until it reads this value.
    Await(Place, Strength, u32),
    /// The thread ends its phase unless its last read gave this value.
    Expect(u32),
    Fence(Fence, Scope),
}

/// How a phase ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Nothing,
    /// All threads of each block.
    Block,
    /// Some lanes of each warp.
    Warp(u32),
    /// Some warps of each block.
    Part(Vec<u32>),
}

/// A thread: its block, its warp in the block, and its lane.
pub type Thread = (u32, u32, u32);

/// What each thread does before all threads go on.
#[derive(Debug, Clone)]
pub struct Phase {
    pub code: Vec<Vec<Op>>,
    pub end: End,
}

#[derive(Debug, Clone)]
pub struct Program {
    pub threads: Vec<Thread>,
    pub phases: Vec<Phase>,
}

/// A step that a thread has taken.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    pub thread: usize,
    pub phase: usize,
    pub op: Op,
    /// The time at which it was taken.
    pub stamp: u32,
    /// The value that it read.
    pub read: u32,
}

/// Words of the log for one step: pairs of a time and a value.
const ROOM: usize = 16;
const NOTHING: u32 = u32::MAX;

impl Program {
    /// A program of one phase.
    pub fn new(threads: &[Thread], code: &[&[Op]]) -> Program {
        assert_eq!(threads.len(), code.len());
        let code = code.iter().map(|ops| ops.to_vec()).collect();
        Program { threads: threads.to_vec(), phases: vec![Phase { code, end: End::Nothing }] }
    }

    /// Ends the last phase and begins another one.
    pub fn then(mut self, end: End, code: &[&[Op]]) -> Program {
        assert_eq!(self.threads.len(), code.len());
        if let Some(last) = self.phases.last_mut() {
            last.end = end;
        }
        let code = code.iter().map(|ops| ops.to_vec()).collect();
        self.phases.push(Phase { code, end: End::Nothing });
        self
    }

    fn warps(&self) -> u32 {
        self.threads.iter().map(|thread| thread.1).max().unwrap_or(0) + 1
    }

    fn blocks(&self) -> u32 {
        self.threads.iter().map(|thread| thread.0).max().unwrap_or(0) + 1
    }

    /// The kernel that runs the program.
    pub fn ptx(&self) -> String {
        let mut text = ".version 9.0\n.target sm_80\n.address_size 64\n\
            .visible .entry k(.param .u64 a, .param .u64 b)\n{\n\
            .reg .pred %p<4>; .reg .b32 %r<9>; .reg .b64 %rd<9>;\n\
            .shared .align 4 .b8 s[256];\n\
            ld.param.u64 %rd0, [a]; ld.param.u64 %rd1, [b]; mov.u32 %r1, 0; mov.u32 %r2, 0;\n\
            mov.u32 %r4, %tid.x; mov.u32 %r5, %ctaid.x; mov.u32 %r6, %ntid.x;\n\
            mad.lo.u32 %r0, %r5, %r6, %r4; shr.u32 %r7, %r4, 5;\n"
            .to_owned();
        let mut slot = 0;
        for (phase, Phase { code, end }) in self.phases.iter().enumerate() {
            for (index, ops) in code.iter().enumerate() {
                let (block, warp, lane) = self.threads[index];
                let number = (block * self.warps() + warp) * 32 + lane;
                let skip = format!("$P{phase}T{index}");
                writeln!(text, "setp.ne.u32 %p0, %r0, {number}; @%p0 bra {skip};").unwrap();
                for op in ops {
                    text += &instructions(*op, 4 * ROOM * slot, &skip, slot);
                    slot += 1;
                }
                writeln!(text, "{skip}:").unwrap();
            }
            match end {
                End::Nothing => {}
                End::Block => text += "bar.sync 0;\n",
                End::Warp(mask) => {
                    let skip = format!("$W{phase}");
                    let lanes = "mov.u32 %r3, %lanemask_eq; and.b32 %r3, %r3, ";
                    writeln!(text, "{lanes}{mask}; setp.eq.u32 %p0, %r3, 0; @%p0 bra {skip};")
                        .unwrap();
                    writeln!(text, "bar.warp.sync {mask}; {skip}:").unwrap();
                }
                End::Part(warps) => {
                    let skip = format!("$B{phase}");
                    text += "setp.lt.u32 %p1, %r7, 0;\n";
                    for warp in warps {
                        writeln!(text, "setp.eq.u32 %p0, %r7, {warp}; or.pred %p1, %p1, %p0;")
                            .unwrap();
                    }
                    let count = 32 * warps.len();
                    writeln!(text, "@!%p1 bra {skip}; bar.sync {}, {count}; {skip}:", phase + 1)
                        .unwrap();
                }
            }
        }
        text + "ret;\n}\n"
    }

    /// Runs the program for at most `step_limit` instructions; gives the report and the steps that were taken. `None` when
    /// a thread waits without end.
    pub fn run(&self, order: Order, step_limit: u64) -> Option<(Report, Vec<Taken>)> {
        let steps: usize = self.phases.iter().flat_map(|phase| &phase.code).map(Vec::len).sum();
        let settings = Settings { order, warps: order, step_limit, ..Settings::default() };
        let mut bench = Bench { settings, ..Bench::default() };
        let places = bench.array("x", &[0u32; 64]);
        let log = bench.array("log", &vec![NOTHING; ROOM * steps.max(1)]);
        bench.parameters().field(places).field(log);
        let (grid, block) = ([self.blocks(), 1, 1], [32 * self.warps(), 1, 1]);
        let report = bench.try_run(&self.ptx(), "k", grid, block).ok()?;
        let words = bench.read::<u32>(log, ROOM * steps);
        let mut taken = Vec::new();
        let mut slots = words.chunks(ROOM);
        for (phase, Phase { code, .. }) in self.phases.iter().enumerate() {
            for (thread, ops) in code.iter().enumerate() {
                for &op in ops {
                    let entries = slots.next().unwrap().chunks(2);
                    for entry in entries.take_while(|entry| entry[0] != NOTHING) {
                        let (stamp, read) = (entry[0], entry[1]);
                        taken.push(Taken { thread, phase, op, stamp, read });
                    }
                }
            }
        }
        Some((report, taken))
    }
}

/// Whether a report has a data race.
pub fn has_race(report: &Report) -> bool {
    report.findings.iter().any(|f| matches!(f.kind, Kind::SharedRace | Kind::GlobalRace))
}

fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Cta => ".cta",
        Scope::Gpu => ".gpu",
    }
}

/// The modifiers of a load or store.
fn strength(strength: Strength, ordered: &str) -> String {
    match strength {
        Strength::Weak => String::new(),
        Strength::Volatile => ".volatile".to_owned(),
        Strength::Relaxed(of) => format!(".relaxed{}", scope(of)),
        Strength::Ordered(of) => format!("{ordered}{}", scope(of)),
    }
}

/// The state space and the address of a place.
fn address(place: Place) -> (&'static str, String) {
    match place {
        Place::Global(index) => (".global", format!("[%rd0+{}]", 4 * index)),
        Place::Shared(index) => (".shared", format!("[s+{}]", 4 * index)),
    }
}

/// The instructions of a step, which logs at byte `at` of the log.
fn instructions(op: Op, at: usize, skip: &str, slot: usize) -> String {
    let logged = |action: &str| {
        format!(
            "mov.u32 %r3, %clock; {action} st.global.u32 [%rd1+{at}], %r3; \
             st.global.u32 [%rd1+{}], %r1;\n",
            at + 4
        )
    };
    match op {
        Op::Write(place, how, value) => {
            let (space, address) = address(place);
            logged(&format!("st{}{space}.u32 {address}, {value};", strength(how, ".release")))
        }
        Op::Read(place, how) => {
            let (space, address) = address(place);
            logged(&format!("ld{}{space}.u32 %r1, {address};", strength(how, ".acquire")))
        }
        Op::Exchange(place, update, of, value) => {
            let (space, address) = address(place);
            let order = match update {
                Update::Relaxed => "relaxed",
                Update::Acquire => "acquire",
                Update::Release => "release",
                Update::AcquireRelease => "acq_rel",
            };
            let of = scope(of);
            logged(&format!("atom.{order}{of}{space}.exch.b32 %r1, {address}, {value};"))
        }
        Op::Fence(fence, of) => {
            let kind = match fence {
                Fence::Acquire => "acquire",
                Fence::Release => "release",
                Fence::AcquireRelease => "acq_rel",
                Fence::Sc => "sc",
            };
            logged(&format!("fence.{kind}{};", scope(of)))
        }
        Op::Expect(value) => format!("setp.ne.u32 %p1, %r1, {value}; @%p1 bra {skip};\n"),
        // Each new value is logged once.
        Op::Await(place, how, value) => {
            let (space, address) = address(place);
            let load = format!("ld{}{space}.u32 %r1, {address};", strength(how, ".acquire"));
            format!(
                "mov.u32 %r2, -1; add.s64 %rd2, %rd1, {at};\n\
                 $A{slot}: mov.u32 %r3, %clock; {load} setp.eq.u32 %p1, %r1, %r2; @%p1 bra $A{slot};\n\
                 st.global.u32 [%rd2], %r3; st.global.u32 [%rd2+4], %r1; add.s64 %rd2, %rd2, 8;\n\
                 mov.u32 %r2, %r1; setp.ne.u32 %p1, %r1, {value}; @%p1 bra $A{slot};\n"
            )
        }
    }
}
