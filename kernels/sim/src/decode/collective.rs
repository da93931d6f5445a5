//! Instructions of a whole warp or block: shuffles, votes, barriers and matrix products.

use super::{Decoded, Decoder, Failure, expect};
use crate::alu::{Opcode, Type};
use crate::instruction::{BarrierMode, BarrierVote, Matrices, Operation, Reduction, Shuffle, Vote};
use crate::parse::Operand;

impl Decoder<'_> {
    /// Decodes an instruction that several lanes run together.
    pub(super) fn collective(
        &mut self,
        mut opcode: Opcode<'_>,
        operands: &[Operand],
    ) -> Decoded<Operation> {
        match opcode.root {
            "shfl" => self.shuffle(opcode, operands),
            "vote" => self.vote(opcode, operands),
            "match" => self.matching(opcode, operands),
            "redux" => self.reduction(opcode, operands),
            "activemask" => {
                let [d] = expect(operands)?;
                if !opcode.take("b32") || !opcode.done() {
                    return Err(Failure::Unknown);
                }
                Ok(Operation::ActiveMask { d: self.destination(d, Type::U32)? })
            }
            "mma" => self.multiply(opcode, operands),
            _ => self.barrier(opcode, operands),
        }
    }

    /// `shfl.sync`.
    fn shuffle(&mut self, mut opcode: Opcode<'_>, operands: &[Operand]) -> Decoded<Operation> {
        let mode = match opcode.one_of(&["up", "down", "bfly", "idx"]) {
            Some("up") => Shuffle::Up,
            Some("down") => Shuffle::Down,
            Some("bfly") => Shuffle::Butterfly,
            Some(_) => Shuffle::Index,
            None => return Err(Failure::Unknown),
        };
        if !opcode.take("sync") || !opcode.take("b32") || !opcode.done() {
            return Err(Failure::Unknown);
        }
        let [d, a, b, c, members] = expect(operands)?;
        let (d, valid) = match d {
            Operand::Pair(d, p) => (d.as_ref(), Some(self.destination(p, Type::Predicate)?)),
            d => (d, None),
        };
        Ok(Operation::Shuffle {
            mode,
            d: self.destination(d, Type::U32)?,
            valid,
            a: self.number(a)?,
            b: self.number(b)?,
            c: self.number(c)?,
            members: self.number(members)?,
        })
    }

    /// `vote.sync`.
    fn vote(&mut self, mut opcode: Opcode<'_>, operands: &[Operand]) -> Decoded<Operation> {
        let mode = match opcode.one_of(&["all", "any", "uni", "ballot"]) {
            Some("all") => Vote::All,
            Some("any") => Vote::Any,
            Some("uni") => Vote::Uniform,
            Some(_) => Vote::Ballot,
            None => return Err(Failure::Unknown),
        };
        let kind = opcode.kind().ok_or(Failure::Unknown)?;
        if !opcode.take("sync") || !opcode.done() {
            return Err(Failure::Unknown);
        }
        let [d, a, members] = expect(operands)?;
        let d = self.destination(d, kind)?;
        let (a, negated) = self.predicate(a)?;
        Ok(Operation::Vote { mode, d, a, negated, members: self.number(members)? })
    }

    /// `match.any.sync` and `match.all.sync`.
    fn matching(&mut self, mut opcode: Opcode<'_>, operands: &[Operand]) -> Decoded<Operation> {
        let all = match opcode.one_of(&["any", "all"]) {
            Some(mode) => mode == "all",
            None => return Err(Failure::Unknown),
        };
        let kind = opcode.kind().filter(|k| k.bytes() >= 4).ok_or(Failure::Unknown)?;
        if !opcode.take("sync") || !opcode.done() {
            return Err(Failure::Unknown);
        }
        let [d, a, members] = expect(operands)?;
        let (d, valid) = match d {
            Operand::Pair(d, p) => (d.as_ref(), Some(self.destination(p, Type::Predicate)?)),
            d => (d, None),
        };
        Ok(Operation::Match {
            all,
            long: kind.bytes() == 8,
            d: self.destination(d, Type::U32)?,
            valid,
            a: self.source(a, kind)?,
            members: self.number(members)?,
        })
    }

    /// `redux.sync`.
    fn reduction(&mut self, mut opcode: Opcode<'_>, operands: &[Operand]) -> Decoded<Operation> {
        let kind = opcode.kind().filter(|k| k.bytes() == 4).ok_or(Failure::Unknown)?;
        let name = opcode.one_of(&["add", "min", "max", "and", "or", "xor"]);
        let operator = match (name, kind) {
            (Some("add"), Type::U32 | Type::S32) => Reduction::Add,
            (Some("min"), Type::U32) => Reduction::MinUnsigned,
            (Some("max"), Type::U32) => Reduction::MaxUnsigned,
            (Some("min"), Type::S32) => Reduction::MinSigned,
            (Some("max"), Type::S32) => Reduction::MaxSigned,
            (Some("and"), Type::U32) => Reduction::And,
            (Some("or"), Type::U32) => Reduction::Or,
            (Some("xor"), Type::U32) => Reduction::Xor,
            _ => return Err(Failure::Unknown),
        };
        if !opcode.take("sync") || !opcode.done() {
            return Err(Failure::Unknown);
        }
        let [d, a, members] = expect(operands)?;
        Ok(Operation::Reduce {
            operator,
            d: self.destination(d, Type::U32)?,
            a: self.number(a)?,
            members: self.number(members)?,
        })
    }

    /// `bar` and `barrier`.
    fn barrier(&mut self, mut opcode: Opcode<'_>, operands: &[Operand]) -> Decoded<Operation> {
        opcode.take("cta");
        opcode.take("aligned");
        if opcode.take("warp") {
            let [members] = expect(operands)?;
            if !opcode.take("sync") || !opcode.done() {
                return Err(Failure::Unknown);
            }
            return Ok(Operation::SyncWarp { members: self.number(members)? });
        }
        if opcode.take("red") {
            return self.voting_barrier(opcode, operands);
        }
        let arrive = match opcode.one_of(&["sync", "arrive"]) {
            Some(mode) => mode == "arrive",
            None => return Err(Failure::Unknown),
        };
        if !opcode.done() || arrive && operands.len() != 2 {
            return Err(Failure::Unknown);
        }
        let (id, count) = match operands {
            [id] => (self.number(id)?, None),
            [id, count] => (self.number(id)?, Some(self.number(count)?)),
            _ => return Err(Failure::Unknown),
        };
        Ok(Operation::Barrier { id, count, arrive, vote: None })
    }

    /// `bar.red`.
    fn voting_barrier(
        &mut self,
        mut opcode: Opcode<'_>,
        operands: &[Operand],
    ) -> Decoded<Operation> {
        let mode = match opcode.one_of(&["popc", "and", "or"]) {
            Some("popc") => BarrierMode::Count,
            Some("and") => BarrierMode::And,
            Some(_) => BarrierMode::Or,
            None => return Err(Failure::Unknown),
        };
        let kind = opcode.kind().ok_or(Failure::Unknown)?;
        if !opcode.done() {
            return Err(Failure::Unknown);
        }
        let (d, id, count, a) = match operands {
            [d, id, a] => (d, id, None, a),
            [d, id, count, a] => (d, id, Some(count), a),
            _ => return Err(Failure::Unknown),
        };
        let d = self.destination(d, kind)?;
        let (a, negated) = self.predicate(a)?;
        Ok(Operation::Barrier {
            id: self.number(id)?,
            count: count.map(|count| self.number(count)).transpose()?,
            arrive: false,
            vote: Some(BarrierVote { mode, d, a, negated }),
        })
    }

    /// `mma.sync` with f32 accumulators.
    fn multiply(&mut self, mut opcode: Opcode<'_>, operands: &[Operand]) -> Decoded<Operation> {
        let fixed = ["sync", "aligned", "row", "col"].map(|part| opcode.take(part));
        let k = opcode.one_of(&["m16n8k16", "m16n8k8", "m16n8k4"]).ok_or(Failure::Unknown)?;
        let types = [opcode.last(), opcode.last(), opcode.last(), opcode.last()];
        let (shape, a_count) = match (types, k) {
            ([Some("f32"), Some("bf16"), Some("bf16"), Some("f32")], "m16n8k16") => {
                (Matrices::Bf16, 4)
            }
            ([Some("f32"), Some("bf16"), Some("bf16"), Some("f32")], "m16n8k8") => {
                (Matrices::Bf16, 2)
            }
            ([Some("f32"), Some("f16"), Some("f16"), Some("f32")], "m16n8k16") => {
                (Matrices::F16, 4)
            }
            ([Some("f32"), Some("f16"), Some("f16"), Some("f32")], "m16n8k8") => (Matrices::F16, 2),
            ([Some("f32"), Some("tf32"), Some("tf32"), Some("f32")], "m16n8k8") => {
                (Matrices::Tf32, 4)
            }
            ([Some("f32"), Some("tf32"), Some("tf32"), Some("f32")], "m16n8k4") => {
                (Matrices::Tf32, 2)
            }
            _ => return Err(Failure::Unknown),
        };
        if !opcode.done() || fixed.contains(&false) {
            return Err(Failure::Unknown);
        }
        let [d, a, b, c] = expect(operands)?;
        let mut list = |operand: &Operand, count: usize, result: bool| -> Decoded<Vec<u16>> {
            let parts = match operand {
                Operand::Vector(parts) => parts.as_slice(),
                one => std::slice::from_ref(one),
            };
            if parts.len() != count {
                return Err(format!("expected {count} registers, got {}", parts.len()).into());
            }
            let slot = |part| {
                if result {
                    self.destination(part, Type::U32)
                } else {
                    self.source(part, Type::F32)
                }
            };
            parts.iter().map(slot).collect()
        };
        let four = |slots: Vec<u16>| [slots[0], slots[1], slots[2], slots[3]];
        Ok(Operation::Multiply {
            shape,
            d: four(list(d, 4, true)?),
            a: list(a, a_count, false)?,
            b: list(b, a_count / 2, false)?,
            c: four(list(c, 4, false)?),
        })
    }
}
