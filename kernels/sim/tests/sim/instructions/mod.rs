//! Tests of each instruction on edge values against scalar code, and a census of the instructions
//! that kernels use.

mod bits;
mod census;
mod collective;
mod compare;
mod convert;
mod double;
mod exact;
mod float;
mod integer;
mod matrix;
mod memory;
mod packed;
mod suite;

use suite::Suite;

/// Makes a test of each group of checks, and the list of all groups.
macro_rules! groups {
    ($($test:ident: $group:path,)+) => {
        $(
            #[test]
            fn $test() {
                $group(&mut Suite::default());
            }
        )+

        /// The instruction forms that the tests cover.
        const GROUPS: &[fn(&mut Suite)] = &[$($group),+];
    };
}

groups! {
    integer_arithmetic: integer::arithmetic,
    logic_and_shifts: bits::logic_and_shifts,
    counts_of_bits: bits::counts,
    fields_of_bits: bits::fields,
    moves_and_selections: bits::moves,
    single_precision: float::arithmetic,
    approximations: float::approximations,
    double_precision: double::arithmetic,
    comparisons_of_integers: compare::integers,
    comparisons_of_floats: compare::floats,
    joined_comparisons: compare::joined,
    conversions_between_integers: convert::between_integers,
    conversions_from_integers: convert::from_integers,
    conversions_to_integers: convert::to_integers,
    conversions_between_floats: convert::between_floats,
    conversions_of_halves: convert::halves,
    arithmetic_on_halves: packed::arithmetic,
    clamped_conversions_to_halves: packed::clamped_conversions,
    comparisons_of_halves: packed::comparisons,
    approximations_on_halves: packed::approximations,
    dot_products: packed::dot_products,
    loads_and_stores: memory::loads_and_stores,
    loads_from_mixed_spaces: memory::mixed_spaces,
    atomics: memory::atomics,
    asynchronous_copies: memory::copies,
    shuffles: collective::shuffles,
    votes_and_matches: collective::votes,
    reductions: collective::reductions,
    barriers: collective::barriers,
    control: collective::control,
    matrix_loads: matrix::loads,
    matrix_products: matrix::products,
}
