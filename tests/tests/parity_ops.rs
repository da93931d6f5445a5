//! Every op against PyTorch's function of the same meaning: values and gradients, in f32 and in f64. The ops are
//! called as the networks call them, on tensors and with a tape.

use crate::comparison::{Comparison, demand_none};
use crate::fixture::{self, Fixture, list, text};
use crate::network;
use engine::{DType, Result, Tape, Tensor};
use kernels::Op;
use kernels::op::Compiled;
use kernels::ops::{self, *};
use serde_json::Value;

/// The largest difference in f32, relative to the largest magnitude of a tensor.
const TOLERANCE: f64 = 1e-5;
/// The same for losses with a temperature, whose logits are 14 times as large as their cosines.
const LOSS_TOLERANCE: f64 = 1e-4;
/// The same in f64: the files hold f32.
const F64_TOLERANCE: f64 = 2e-7;

/// Ops without a fixture, and why.
const WITHOUT: [(&str, &str); 1] = [(
    "dropout",
    "draws from another generator than PyTorch's; its statistics are tested in the kernels crate",
)];

/// One case of a file.
struct Call<'a> {
    fixture: &'a Fixture,
    case: &'a Value,
    name: String,
    prefix: String,
}

#[test]
fn every_op_computes_what_pytorch_does() {
    let mut failures = Vec::new();
    let mut cases = 0;
    for file in fixture::names("op_") {
        let fixture = Fixture::read(&file);
        let op = file.trim_start_matches("op_");
        let mut comparison = Comparison::default();
        for case in fixture.description["cases"].as_array().unwrap() {
            assert_eq!(text(&case["op"]), op, "{file} lists a case of another op");
            let name = text(&case["name"]).to_owned();
            let call = Call { fixture: &fixture, case, prefix: format!("{op} {name}"), name };
            let tolerance = if op == InfoNce::NAME { LOSS_TOLERANCE } else { TOLERANCE };
            call.compare(op, DType::F32, tolerance, &mut comparison);
            call.compare(op, DType::F64, F64_TOLERANCE, &mut comparison);
            cases += 1;
        }
        assert_eq!(
            comparison.tensors,
            2 * fixture.count(),
            "{file} holds tensors that no case names"
        );
        comparison.report(op, &mut failures);
    }
    println!("{cases} cases");
    demand_none(&failures);
}

#[test]
fn every_op_has_a_fixture_or_a_reason() {
    struct Names(Vec<&'static str>);
    impl ops::Visitor for Names {
        fn visit<O: Compiled>(&mut self) {
            self.0.push(O::NAME);
        }
    }
    let mut names = Names(Vec::new());
    ops::visit(&mut names);
    let files = fixture::names("op_");
    for name in names.0 {
        let excused = WITHOUT.iter().find(|(op, _)| *op == name);
        let has = files.contains(&format!("op_{name}"));
        assert!(
            has != excused.is_some(),
            "{name} needs a fixture or a reason to have none, and not both"
        );
        if let Some((_, reason)) = excused {
            println!("{name}: no fixture: {reason}");
        }
    }
}

/// Runs the op that the settings describe.
fn run(op: &str, s: &Value, x: &[Tensor], indices: &[Tensor]) -> Result<Tensor> {
    let number = |name: &str| s[name].as_f64().unwrap_or_else(|| panic!("{name} of {s}"));
    let count = |name: &str| s[name].as_u64().unwrap_or_else(|| panic!("{name} of {s}")) as usize;
    let flag = |name: &str| s[name].as_bool().unwrap_or_else(|| panic!("{name} of {s}"));
    let triple = |name: &str| <[usize; 3]>::try_from(list(&s[name])).unwrap();
    let kind = || text(&s["kind"]);
    match op {
        "activation" => x[0].activation(activation(kind())),
        "prelu" => x[0].prelu(&x[1]),
        "gate" => x[0].gate(one_of(kind(), &[("glu", Gate::Glu), ("additive", Gate::Additive)])),
        "unary" => match kind() {
            "exp" => x[0].exp(),
            "log" => x[0].log(),
            "sqrt" => x[0].sqrt(),
            "square" => x[0].square(),
            "abs" => x[0].abs(),
            "negate" => x[0].negate(),
            "reciprocal" => x[0].reciprocal(),
            "softplus" => x[0].softplus(),
            "clamp" => x[0].clamp(number("low"), number("high")),
            other => panic!("no test knows the function {other}"),
        },
        "arithmetic" => match kind() {
            "add" => x[0].add(&x[1]),
            "subtract" => x[0].subtract(&x[1]),
            "multiply" => x[0].multiply(&x[1]),
            "divide" => x[0].divide(&x[1]),
            "maximum" => x[0].maximum(&x[1]),
            "minimum" => x[0].minimum(&x[1]),
            // As ops, since the tensors' methods leave the tape.
            "greater" => apply(Arithmetic::Greater, x, indices),
            "less" => apply(Arithmetic::Less, x, indices),
            "equal" => apply(Arithmetic::Equal, x, indices),
            other => panic!("no test knows the arithmetic {other}"),
        },
        "reduce" => {
            use reduce::ReduceKind::{LogSumExp, Max, Mean, Sum};
            let kinds = [("sum", Sum), ("mean", Mean), ("max", Max), ("log_sum_exp", LogSumExp)];
            let (kind, axes) = (one_of(kind(), &kinds), list(&s["axes"]));
            x[0].reduce(Reduce { kind, axes, keep: flag("keep") })
        }
        "affine" => x[0].affine(number("scale"), number("shift")),
        "softmax" => x[0].softmax(),
        "batch_norm" => apply(batch_norm(s), x, indices),
        "layer_norm" => x[0].layer_norm(
            LayerNorm { axes: count("axes"), epsilon: number("epsilon") },
            &x[1],
            &x[2],
        ),
        "cross_entropy" => x[0].cross_entropy(&indices[0]),
        "bce" => x[0].bce(&x[1], &x[2]),
        "regression" => match kind() {
            "mse" => x[0].mse(&x[1]),
            "l1" => x[0].l1(&x[1]),
            other => panic!("no test knows the regression loss {other}"),
        },
        "ccc" => x[0].ccc(&x[1]),
        "pool" => {
            let kind = one_of(
                kind(),
                &[("max", pool::PoolKind::Max), ("average", pool::PoolKind::Average)],
            );
            let (kernel, stride, padding) = (triple("kernel"), triple("stride"), triple("padding"));
            let ceil = s["ceil"] == true;
            x[0].pool(Pool { kind, kernel, stride, padding, ceil })
        }
        "sequence_pool" => {
            apply(SequencePool { std: flag("deviation"), masked: flag("masked") }, x, indices)
        }
        "max_unpool" => {
            let op = MaxUnpool { output: triple("output") };
            if s["pooled"] != true {
                return x[0].max_unpool(op, &indices[0]);
            }
            let (kernel, stride, padding) = (triple("kernel"), triple("stride"), triple("padding"));
            let kind = pool::PoolKind::Max;
            let (y, indices) =
                x[0].pool_with_indices(Pool { kind, kernel, stride, padding, ceil: false })?;
            y.multiply(&y)?.max_unpool(op, &indices)
        }
        "scatter_rows" => x[0].scatter_rows(&indices[0], count("rows")),
        "embedding" => x[0].embedding(&indices[0]),
        "permute" => x[0].permute(&list(&s["axes"])),
        "concat" => Tensor::concat(&x.iter().collect::<Vec<_>>(), count("axis")),
        "slice" => x[0].slice(count("axis"), count("start"), count("length")),
        "attention" => {
            let (scale, masked) = (s["scale"].as_f64(), flag("masked"));
            let op = Attention { scale, masked, ..Attention::new(count("heads")) };
            x[0].attention(op, &x[1], &x[2], indices.first())
        }
        "depthwise_conv" => {
            let (stride, padding, dilation) =
                (count("stride"), count("padding"), count("dilation"));
            x[0].depthwise_conv(
                DepthwiseConv { stride, padding, dilation, bias: flag("bias") },
                &x[1],
                x.get(2),
            )
        }
        "graph_conv" => {
            use graph_conv::Adjacency::{Dense, Sparse};
            let adjacency = if flag("sparse") { Sparse } else { Dense };
            apply(GraphConv { adjacency, bias: flag("bias"), relu: flag("relu") }, x, indices)
        }
        "linear" => x[0].linear(&x[1], x.get(2), flag("relu")),
        "matmul" => {
            let transpose_left = flag("transpose_left");
            x[0].matmul(Matmul { transpose_left, transpose_right: flag("transpose_right") }, &x[1])
        }
        "conv3d" => {
            let dilation = triple("dilation");
            let op = Conv3d::new(triple("stride"), triple("padding"));
            x[0].conv3d(
                Conv3d { dilation, bias: flag("bias"), relu: flag("relu"), ..op },
                &x[1],
                x.get(2),
            )
        }
        "conv_transpose3d" => {
            let op = ConvTranspose3d {
                stride: triple("stride"),
                padding: triple("padding"),
                output_padding: triple("output_padding"),
                dilation: triple("dilation"),
                bias: flag("bias"),
            };
            x[0].conv_transpose3d(op, &x[1], x.get(2))
        }
        "info_nce" => apply(info_nce(s), x, indices),
        other => panic!("no test knows the op {other}"),
    }
}

/// An op, or a setting of it, that tensors have no method for.
fn apply<O: Compiled>(op: O, inputs: &[Tensor], indices: &[Tensor]) -> Result<Tensor> {
    let (inputs, indices): (Vec<_>, Vec<_>) = (inputs.iter().collect(), indices.iter().collect());
    Ok(Tensor::apply(op, &inputs, &indices)?.output)
}

fn one_of<T: Copy>(name: &str, choices: &[(&str, T)]) -> T {
    let found = choices.iter().find(|(choice, _)| *choice == name);
    found.unwrap_or_else(|| panic!("no test knows the setting {name}")).1
}

fn activation(kind: &str) -> Activation {
    use Activation::{Gelu, Relu, Sigmoid, Silu, Tanh};
    one_of(
        kind,
        &[("relu", Relu), ("gelu", Gelu), ("sigmoid", Sigmoid), ("tanh", Tanh), ("silu", Silu)],
    )
}

fn batch_norm(s: &Value) -> BatchNorm {
    use batch_norm::Statistics::{Batch, Given};
    let flag = |name: &str| s[name].as_bool().unwrap();
    BatchNorm {
        epsilon: s["epsilon"].as_f64().unwrap(),
        statistics: if flag("given") { Given } else { Batch },
        relu: flag("relu"),
        residual: flag("residual"),
        axis: s["axis"].as_u64().map(|axis| axis as usize),
    }
}

fn info_nce(s: &Value) -> InfoNce {
    use info_nce::{Denominator, Reduction};
    let denominators = [
        ("exclude_positive", Denominator::ExcludePositive),
        ("include_positive", Denominator::IncludePositive),
        ("authors", Denominator::Authors { half: s["half"].as_bool().unwrap_or(true) }),
    ];
    InfoNce {
        temperature: s["temperature"].as_f64().unwrap(),
        denominator: one_of(text(&s["denominator"]), &denominators),
        reduction: one_of(
            text(&s["reduction"]),
            &[("mean", Reduction::Mean), ("sum", Reduction::Sum)],
        ),
        masked: s["masked"].as_bool().unwrap(),
    }
}

impl Call<'_> {
    fn compare(&self, op: &str, dtype: DType, tolerance: f64, comparison: &mut Comparison) {
        let described = self.case["inputs"].as_array().unwrap();
        let tape = Tape::new();
        let input = |(position, input): (usize, &Value)| {
            let shape = list(&input["shape"]);
            let numbers =
                fixture::values(&format!("{} input {position}", self.prefix), &shape, input);
            let tensor = Tensor::from_slice(&numbers, &shape).unwrap().to(dtype).unwrap();
            if input["differentiable"] == true { tape.leaf(&tensor) } else { tensor }
        };
        let inputs: Vec<Tensor> = described.iter().enumerate().map(input).collect();
        let index = |index: &Value| {
            let values: Vec<u32> = list(&index["values"]).iter().map(|&v| v as u32).collect();
            Tensor::from_slice(&values, &list(&index["shape"])).unwrap()
        };
        let indices: Vec<Tensor> =
            self.case["indices"].as_array().unwrap().iter().map(index).collect();

        let output = run(op, &self.case["settings"], &inputs, &indices);
        let output = output.unwrap_or_else(|error| panic!("{}: {error}", self.prefix));
        assert_eq!(
            output.shape()[..],
            list(&self.case["output"])[..],
            "shape of the output of {}",
            self.prefix
        );
        let name = |part: &str| format!("{}/{part}", self.name);
        comparison.tensor(self.fixture, &name("output"), &output.to_vec().unwrap(), 0.0, tolerance);

        let grad_output: Vec<f32> =
            fixture::uniform(&format!("{} grad_output", self.prefix), output.count()).collect();
        let gradients =
            tape.backward(&network::weighted_sum(&output, &grad_output).unwrap()).unwrap();
        for (position, input) in inputs.iter().enumerate() {
            if described[position]["differentiable"] == true {
                let gradient =
                    gradients.get(input).unwrap_or_else(|| panic!("{}: no gradient", self.prefix));
                let name = name(&format!("grad {position}"));
                comparison.tensor(self.fixture, &name, &gradient.to_vec().unwrap(), 0.0, tolerance);
            }
        }
    }
}
