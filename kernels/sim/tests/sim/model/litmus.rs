//! Litmus tests of the PTX memory model: message passing, store buffering, load buffering, coherence, IRIW and others, in
//! each scope. A correctly synchronised one has no race; one that lacks a fence, an order or a scope has one.

use ptx_sim::Order;

use super::oracle::races;
use super::program::{End, Fence, Op, Place, Program, Scope, Strength, Thread, Update, has_race};
use crate::common::listed;

const DATA: Place = Place::Global(0);
const X: Place = Place::Global(1);
const Y: Place = Place::Global(2);
const GO: Place = Place::Global(3);

const WEAK: Strength = Strength::Weak;
const GPU: Scope = Scope::Gpu;
const CTA: Scope = Scope::Cta;

const SET: Op = Op::Write(DATA, WEAK, 100);
const GET: Op = Op::Read(DATA, WEAK);

/// How a thread publishes.
#[derive(Debug, Clone, Copy)]
enum Release {
    Plain,
    Relaxed(Scope),
    Store(Scope),
    Exchange(Update, Scope),
    Fenced(Fence, Scope, Scope),
}

/// How a thread takes what was published.
#[derive(Debug, Clone, Copy)]
enum Acquire {
    Plain,
    Volatile,
    Load(Scope),
    Relaxed(Scope),
    Fenced(Fence, Scope, Scope),
}

fn publish(how: Release, place: Place, value: u32) -> Vec<Op> {
    match how {
        Release::Plain => vec![Op::Write(place, WEAK, value)],
        Release::Relaxed(scope) => vec![Op::Write(place, Strength::Relaxed(scope), value)],
        Release::Store(scope) => vec![Op::Write(place, Strength::Ordered(scope), value)],
        Release::Exchange(update, scope) => vec![Op::Exchange(place, update, scope, value)],
        Release::Fenced(fence, wide, scope) => {
            vec![Op::Fence(fence, wide), Op::Write(place, Strength::Relaxed(scope), value)]
        }
    }
}

fn take(how: Acquire, place: Place, value: u32) -> Vec<Op> {
    match how {
        Acquire::Plain => vec![Op::Await(place, WEAK, value)],
        Acquire::Volatile => vec![Op::Await(place, Strength::Volatile, value)],
        Acquire::Load(scope) => vec![Op::Await(place, Strength::Ordered(scope), value)],
        Acquire::Relaxed(scope) => vec![Op::Await(place, Strength::Relaxed(scope), value)],
        Acquire::Fenced(fence, wide, scope) => {
            vec![Op::Await(place, Strength::Relaxed(scope), value), Op::Fence(fence, wide)]
        }
    }
}

/// A program of one phase from the steps of its threads.
fn program(threads: &[Thread], code: &[Vec<Op>]) -> Program {
    let code: Vec<&[Op]> = code.iter().map(Vec::as_slice).collect();
    Program::new(&threads[..code.len()], &code)
}

/// Runs a program in several orders of blocks and warps. The checker and the oracle must agree on each, and find a race
/// in at least one or in none.
fn expect(name: &str, program: &Program, race: bool) {
    let orders = [Order::Forward, Order::Reversed, Order::Seeded(1), Order::Seeded(2)];
    let mut found = false;
    for order in orders {
        let (report, taken) = program
            .run(order, 5_000_000)
            .unwrap_or_else(|| panic!("{name}: a thread waits without end"));
        let expected = races(program, &taken);
        assert_eq!(has_race(&report), expected, "{name}, {order:?}, oracle{}", listed(&report));
        found |= expected;
    }
    assert_eq!(found, race, "{name}");
}

/// Where the threads of a test are: in blocks of their own, in warps of one block, in lanes of one warp.
const LAYOUTS: [(&str, [Thread; 4], Scope); 3] = [
    ("blocks", [(0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0)], GPU),
    ("warps", [(0, 0, 0), (0, 1, 0), (0, 2, 0), (0, 3, 0)], CTA),
    ("lanes", [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 0, 3)], CTA),
];

/// The releases that suffice for a scope, and those that do not.
fn releases(scope: Scope) -> (Vec<Release>, Vec<Release>) {
    let mut enough = vec![
        Release::Store(scope),
        Release::Store(GPU),
        Release::Exchange(Update::Release, scope),
        Release::Exchange(Update::AcquireRelease, GPU),
        Release::Fenced(Fence::AcquireRelease, scope, scope),
        Release::Fenced(Fence::Release, GPU, scope),
        Release::Fenced(Fence::Sc, scope, GPU),
    ];
    let mut short = vec![
        Release::Plain,
        Release::Relaxed(GPU),
        Release::Exchange(Update::Relaxed, GPU),
        Release::Exchange(Update::Acquire, GPU),
        Release::Fenced(Fence::Acquire, GPU, GPU),
    ];
    if scope == GPU {
        short.push(Release::Store(CTA));
        short.push(Release::Exchange(Update::Release, CTA));
        short.push(Release::Fenced(Fence::Sc, CTA, GPU));
        short.push(Release::Fenced(Fence::Sc, GPU, CTA));
    } else {
        enough.push(Release::Fenced(Fence::Sc, CTA, CTA));
    }
    (enough, short)
}

/// The acquires that suffice for a scope, and those that do not.
fn acquires(scope: Scope) -> (Vec<Acquire>, Vec<Acquire>) {
    let enough = vec![
        Acquire::Load(scope),
        Acquire::Load(GPU),
        Acquire::Fenced(Fence::AcquireRelease, scope, scope),
        Acquire::Fenced(Fence::Acquire, GPU, scope),
        Acquire::Fenced(Fence::Sc, scope, GPU),
    ];
    let mut short = vec![
        Acquire::Plain,
        Acquire::Volatile,
        Acquire::Relaxed(GPU),
        Acquire::Fenced(Fence::Release, GPU, GPU),
    ];
    if scope == GPU {
        short.push(Acquire::Load(CTA));
        short.push(Acquire::Fenced(Fence::Sc, CTA, GPU));
        short.push(Acquire::Fenced(Fence::Sc, GPU, CTA));
    }
    (enough, short)
}

/// A shape of a test: the steps of its threads, from a release and an acquire.
type Shape = fn(Release, Acquire) -> Vec<Vec<Op>>;

/// One thread writes data and publishes; another one takes and reads.
fn message_passing(release: Release, acquire: Acquire) -> Vec<Vec<Op>> {
    vec![[vec![SET], publish(release, X, 1)].concat(), [take(acquire, X, 1), vec![GET]].concat()]
}

/// One thread reads data and publishes; another one takes and writes.
fn load_buffering(release: Release, acquire: Acquire) -> Vec<Vec<Op>> {
    vec![[vec![GET], publish(release, X, 1)].concat(), [take(acquire, X, 1), vec![SET]].concat()]
}

/// The order of two writes of data, through a flag.
fn two_writes(release: Release, acquire: Acquire) -> Vec<Vec<Op>> {
    let second = Op::Write(DATA, WEAK, 101);
    vec![[vec![SET], publish(release, X, 1)].concat(), [take(acquire, X, 1), vec![second]].concat()]
}

/// The message passes through a third thread.
fn write_to_read_causality(release: Release, acquire: Acquire) -> Vec<Vec<Op>> {
    vec![
        [vec![SET], publish(release, X, 1)].concat(),
        [take(acquire, X, 1), publish(release, Y, 2)].concat(),
        [take(acquire, Y, 2), vec![GET]].concat(),
    ]
}

/// A chain of read-modify-writes, in which one without order passes on what it observes.
fn release_sequence(release: Release, acquire: Acquire) -> Vec<Vec<Op>> {
    let relaxed = Strength::Relaxed(GPU);
    vec![
        [vec![SET], publish(release, X, 1), vec![Op::Write(GO, relaxed, 5)]].concat(),
        vec![Op::Await(GO, relaxed, 5), Op::Exchange(X, Update::Relaxed, GPU, 2)],
        [take(acquire, X, 2), vec![GET]].concat(),
    ]
}

#[test]
fn every_release_with_every_acquire() {
    let shapes: [(&str, Shape); 5] = [
        ("message passing", message_passing),
        ("load buffering", load_buffering),
        ("two writes", two_writes),
        ("write to read causality", write_to_read_causality),
        ("release sequence", release_sequence),
    ];
    let (mut clean, mut racy) = (0, 0);
    for (layout, threads, scope) in LAYOUTS {
        let ((releases, loose), (acquires, missing)) = (releases(scope), acquires(scope));
        for (name, shape) in shapes {
            let mut case = |release, acquire, race| {
                let name = format!("{name}, {layout}, {release:?}, {acquire:?}");
                expect(&name, &program(&threads, &shape(release, acquire)), race);
                *if race { &mut racy } else { &mut clean } += 1;
            };
            for &release in &releases {
                acquires.iter().for_each(|&acquire| case(release, acquire, false));
            }
            loose.iter().for_each(|&release| case(release, acquires[0], true));
            missing.iter().for_each(|&acquire| case(releases[0], acquire, true));
        }
    }
    assert_eq!((clean, racy), (575, 170));
}

/// A store in between, instead of a read-modify-write, ends a release sequence.
#[test]
fn a_store_of_another_thread_ends_a_release_sequence() {
    let relaxed = Strength::Relaxed(GPU);
    for (_, threads, _) in LAYOUTS {
        let first = [vec![SET], publish(Release::Store(GPU), X, 1)].concat();
        let go = Op::Write(GO, relaxed, 5);
        let last = [take(Acquire::Load(GPU), X, 2), vec![GET]].concat();
        let store = vec![Op::Await(GO, relaxed, 5), Op::Write(X, relaxed, 2)];
        let code = [[first.clone(), vec![go]].concat(), store, last.clone()];
        expect("store of another thread", &program(&threads, &code), true);
        // A later strong store of the releasing thread continues it.
        let own = [first, vec![Op::Write(X, relaxed, 2)]].concat();
        expect("store of the same thread", &program(&threads, &[own, last]), false);
    }
}

/// Store buffering: each thread writes its flag and reads the other's. The fences of both order the data.
#[test]
fn store_buffering() {
    let relaxed = Strength::Relaxed(GPU);
    let code = |fences: [(Fence, Scope); 2]| {
        let [first, second] = fences.map(|(fence, scope)| Op::Fence(fence, scope));
        [
            vec![SET, Op::Write(X, relaxed, 1), first, Op::Read(Y, relaxed)],
            vec![Op::Write(Y, relaxed, 2), second, Op::Read(X, relaxed), Op::Expect(1), GET],
        ]
    };
    for (layout, threads, _) in LAYOUTS.into_iter().take(2) {
        let strong = (Fence::Sc, GPU);
        expect(layout, &program(&threads, &code([strong, strong])), false);
        for weak in [(Fence::AcquireRelease, GPU), (Fence::Release, GPU)] {
            expect(layout, &program(&threads, &code([weak, strong])), true);
        }
        for weak in [(Fence::AcquireRelease, GPU), (Fence::Acquire, GPU)] {
            expect(layout, &program(&threads, &code([strong, weak])), true);
        }
        if layout == "blocks" {
            expect(layout, &program(&threads, &code([(Fence::Sc, CTA), strong])), true);
            expect(layout, &program(&threads, &code([strong, (Fence::Sc, CTA)])), true);
        }
    }
}

/// Independent reads of independent writes: two readers agree on the order of two writes if both have fences.
#[test]
fn independent_reads_of_independent_writes() {
    let relaxed = Strength::Relaxed(GPU);
    let code = |release: Release, fences: [(Fence, Scope); 2]| {
        let [first, second] = fences.map(|(fence, scope)| Op::Fence(fence, scope));
        [
            [vec![SET], publish(release, X, 1)].concat(),
            vec![Op::Await(GO, relaxed, 5), Op::Write(Y, relaxed, 2)],
            vec![
                Op::Await(X, relaxed, 1),
                first,
                Op::Read(Y, relaxed),
                Op::Expect(0),
                Op::Write(GO, relaxed, 5),
            ],
            vec![Op::Await(Y, relaxed, 2), second, Op::Read(X, relaxed), Op::Expect(1), GET],
        ]
    };
    let strong = (Fence::Sc, GPU);
    for (layout, threads, _) in LAYOUTS.into_iter().take(2) {
        let store = Release::Store(GPU);
        expect(layout, &program(&threads, &code(store, [strong, strong])), false);
        expect(layout, &program(&threads, &code(Release::Relaxed(GPU), [strong; 2])), true);
        expect(
            layout,
            &program(&threads, &code(store, [(Fence::AcquireRelease, GPU), strong])),
            true,
        );
        expect(
            layout,
            &program(&threads, &code(store, [strong, (Fence::AcquireRelease, GPU)])),
            true,
        );
    }
    let (_, threads, _) = LAYOUTS[0];
    expect("scope", &program(&threads, &code(Release::Store(CTA), [strong, strong])), true);
    expect(
        "scope",
        &program(&threads, &code(Release::Store(GPU), [(Fence::Sc, CTA), strong])),
        true,
    );
}

/// Coherence: accesses of one place need no order if they are morally strong.
#[test]
fn coherence() {
    let strengths = [
        (Strength::Relaxed(GPU), GPU),
        (Strength::Relaxed(CTA), CTA),
        (Strength::Volatile, GPU),
        (Strength::Ordered(GPU), GPU),
    ];
    for (layout, threads, needed) in LAYOUTS {
        for (strength, scope) in strengths {
            let enough = needed == CTA || scope == GPU;
            let read = vec![Op::Read(X, strength), Op::Read(X, strength)];
            let write = |value| vec![Op::Write(X, strength, value)];
            let update = |value| vec![Op::Exchange(X, Update::Relaxed, scope, value)];
            let name = format!("{layout}, {strength:?}");
            for code in [
                [write(1), read.clone(), write(2)],
                [update(1), read.clone(), update(2)],
                [write(1), update(2), read],
            ] {
                expect(&name, &program(&threads, &code), !enough);
            }
            let plain = [vec![Op::Write(X, WEAK, 1)], vec![Op::Read(X, strength)]];
            expect(&name, &program(&threads, &plain), true);
            let plain = [write(1), vec![Op::Read(X, WEAK)]];
            expect(&name, &program(&threads, &plain), true);
        }
    }
}

/// What was observed happened before: the last of several threads may reset their counter.
#[test]
fn an_observed_write_happens_before() {
    let update = |value| Op::Exchange(X, Update::Relaxed, GPU, value);
    let reset = Op::Write(X, WEAK, 9);
    for (layout, threads, _) in LAYOUTS {
        let code = [vec![update(1)], vec![update(2)], vec![update(3), Op::Expect(2), reset]];
        expect(layout, &program(&threads, &code), false);
        let polled = [
            vec![Op::Write(X, Strength::Volatile, 1)],
            vec![Op::Await(X, Strength::Volatile, 1), reset],
        ];
        expect(layout, &program(&threads, &polled), false);
        let early = [vec![update(1)], vec![reset]];
        expect(layout, &program(&threads, &early), true);
    }
}

/// Barriers order their threads, and nothing else.
#[test]
fn barriers() {
    let two: [Thread; 2] = [(0, 0, 0), (0, 1, 0)];
    let lanes: [Thread; 2] = [(0, 0, 0), (0, 0, 5)];
    let blocks: [Thread; 2] = [(0, 0, 0), (1, 0, 0)];
    for place in [DATA, Place::Shared(0)] {
        let (set, get) = ([Op::Write(place, WEAK, 1)], [Op::Read(place, WEAK)]);
        let run = |name, threads: &[Thread], end: End, race| {
            let program = Program::new(threads, &[&set, &[]]).then(end, &[&[], &get]);
            expect(name, &program, race);
        };
        run("block barrier, warps", &two, End::Block, false);
        run("block barrier, lanes", &lanes, End::Block, false);
        run("no barrier", &two, End::Nothing, true);
        run("warp barrier, warps", &two, End::Warp(u32::MAX), true);
        run("warp barrier, lanes", &lanes, End::Warp(u32::MAX), false);
        run("warp barrier of both lanes", &lanes, End::Warp(0b10_0001), false);
        run("warp barrier of one lane", &lanes, End::Warp(1), true);
        run("barrier of both warps", &two, End::Part(vec![0, 1]), false);
        run("barrier of one warp", &two, End::Part(vec![1]), true);
        run("block barrier, blocks", &blocks, End::Block, place == DATA);
    }
}

/// A barrier passes on what one of its threads has acquired, and a release what a barrier has ordered.
#[test]
fn barriers_and_releases_are_transitive() {
    let threads: [Thread; 4] = [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0)];
    let set: &[Op] = &[SET];
    let get: &[Op] = &[GET];
    let case = |name, release: &[Op], acquire: &[Op], ends: [End; 2], race| {
        let program = Program::new(&threads, &[set, &[], &[], &[]])
            .then(ends[0].clone(), &[&[], release, acquire, &[]])
            .then(ends[1].clone(), &[&[], &[], &[], get]);
        expect(name, &program, race);
    };
    let (store, load) = (publish(Release::Store(GPU), X, 1), take(Acquire::Load(GPU), X, 1));
    let relaxed = take(Acquire::Relaxed(GPU), X, 1);
    case("both barriers", &store, &load, [End::Block, End::Block], false);
    case("no barrier before the release", &store, &load, [End::Nothing, End::Block], true);
    case("no barrier after the acquire", &store, &load, [End::Block, End::Nothing], true);
    case("no acquire", &store, &relaxed, [End::Block, End::Block], true);
    let loose = publish(Release::Relaxed(GPU), X, 1);
    case("no release", &loose, &load, [End::Block, End::Block], true);
}

/// The ticket of a block: every thread fences, then a barrier, then one thread takes the ticket.
#[test]
fn fences_before_a_barrier_cover_its_ticket() {
    let threads: [Thread; 4] = [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0)];
    let ticket: &[Op] = &[Op::Exchange(X, Update::Relaxed, GPU, 1)];
    let look: &[Op] = &[Op::Await(X, Strength::Relaxed(GPU), 1)];
    let case = |name, before: Op, after: Op, race| {
        let set = [SET, before];
        let get = [after, GET];
        let program = Program::new(&threads, &[&[], &set, &[], &[]])
            .then(End::Block, &[ticket, &[], look, &[]])
            .then(End::Block, &[&[], &[], &[], &get]);
        expect(name, &program, race);
    };
    let sc = Op::Fence(Fence::Sc, GPU);
    case("sequentially consistent fences", sc, sc, false);
    case("no fence that orders the barrier", Op::Fence(Fence::AcquireRelease, GPU), sc, true);
    case("no fence behind the barrier", sc, Op::Fence(Fence::AcquireRelease, GPU), true);
    case("block scope", Op::Fence(Fence::Sc, CTA), sc, true);
}

/// A third reader that has no order with the writer is found, whichever reader has.
#[test]
fn one_of_many_readers_without_order() {
    let threads: Vec<Thread> = (0..8).map(|warp| (0, warp, 0)).collect();
    let flags: Vec<Place> = (1..8).map(Place::Global).collect();
    for silent in 0..8 {
        let mut code: Vec<Vec<Op>> = (0..7)
            .map(|reader| {
                let release = Op::Write(flags[reader], Strength::Ordered(CTA), reader as u32 + 1);
                if reader == silent { vec![GET] } else { vec![GET, release] }
            })
            .collect();
        let mut writer = Vec::new();
        for reader in (0..7).filter(|&reader| reader != silent) {
            writer.push(Op::Await(flags[reader], Strength::Ordered(CTA), reader as u32 + 1));
        }
        writer.push(SET);
        code.push(writer);
        expect("readers", &program(&threads, &code), silent < 7);
    }
}
