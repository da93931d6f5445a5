//! Places in the source, of `.loc` directives.

use std::collections::HashMap;

use crate::kernel::Location;

/// File, line and column.
type Position = [u32; 3];

/// The places that a kernel's instructions come from, each once.
#[derive(Default)]
pub(crate) struct Locations {
    list: Vec<Location>,
    known: HashMap<Location, u32>,
}

/// The latest place at each position of a function.
#[derive(Default)]
pub(crate) struct Recent(HashMap<Position, u32>);

impl Locations {
    /// All places; an instruction has an index of them.
    pub fn into_list(self) -> Vec<Location> {
        self.list
    }

    /// The index of the place that follows `.loc`, such as
    /// `1 25 3, function_name $L__info_string0, inlined_at 1 40 5`. The compiler writes a call site
    /// before the code inlined there, so the latest place at its position is the call site.
    /// `caller` is the call of the whole function, if it is expanded into another.
    pub fn parse(&mut self, text: &str, recent: &mut Recent, caller: Option<u32>) -> Option<u32> {
        let (own, inlined) = match text.split_once("inlined_at") {
            Some((own, site)) => (own, Some(position(site)?)),
            None => (text, None),
        };
        let own = position(own)?;
        let latest = inlined.and_then(|site| recent.0.get(&site)).copied();
        let caller = match inlined {
            // A function inlined into itself: the directive is repeated, not one level deeper.
            Some(site) if site == own && latest.is_some_and(|at| self.is_inlined(at)) => {
                return latest;
            }
            Some(site) => Some(latest.unwrap_or_else(|| self.index(site, caller))),
            None => caller,
        };
        let index = self.index(own, caller);
        recent.0.insert(own, index);
        Some(index)
    }

    /// Whether a place is inlined at its own position.
    fn is_inlined(&self, at: u32) -> bool {
        let location = &self.list[at as usize];
        let caller = location.caller.map(|at| &self.list[at as usize]);
        caller.is_some_and(|c| {
            (c.file, c.line, c.column) == (location.file, location.line, location.column)
        })
    }

    fn index(&mut self, [file, line, column]: Position, caller: Option<u32>) -> u32 {
        let location = Location { file, line, column, caller };
        *self.known.entry(location).or_insert_with(|| {
            self.list.push(location);
            self.list.len() as u32 - 1
        })
    }
}

/// The first three numbers of a text.
fn position(text: &str) -> Option<Position> {
    let mut numbers = text.split([' ', '\t', ',']).filter(|word| !word.is_empty());
    let mut next = || numbers.next()?.parse().ok();
    Some([next()?, next()?, next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines from a place to its outermost call site.
    fn lines(locations: &Locations, at: Option<u32>) -> Vec<u32> {
        let find = |at: Option<u32>| at.map(|at| locations.list[at as usize]);
        std::iter::successors(find(at), |at| find(at.caller)).map(|at| at.line).collect()
    }

    #[test]
    fn chains_of_call_sites() {
        let (mut locations, mut recent) = (Locations::default(), Recent::default());
        let mut read = |text| {
            let at = locations.parse(text, &mut recent, None);
            lines(&locations, at)
        };
        assert_eq!(read("\t1 14 3"), [14]);
        assert_eq!(read("1 11 5, function_name $L__info_string0, inlined_at 1 14 3"), [11, 14]);
        let deep = "1 3 23, function_name $L__info_string1, inlined_at 1 11 5";
        assert_eq!(read(deep), [3, 11, 14]);
        // The helper again, from another line.
        assert_eq!(read("1 11 5, function_name $L__info_string0, inlined_at 1 20 3"), [11, 20]);
        assert_eq!(read(deep), [3, 11, 20]);
        assert_eq!(read("1 7 1, function_name $L__info_string0+12, inlined_at 2 9 9"), [7, 9]);
        assert!(read("what").is_empty());
    }

    #[test]
    fn repeated_recursion_stays_at_its_level() {
        let (mut locations, mut recent) = (Locations::default(), Recent::default());
        locations.parse("1 5 3", &mut recent, None);
        for _ in 0..3 {
            let at = locations.parse("1 5 3, function_name a, inlined_at 1 5 3", &mut recent, None);
            assert_eq!(lines(&locations, at), [5, 5]);
        }
    }
}
