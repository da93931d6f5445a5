//! The three networks of MTCNN (Zhang et al. 2016, figure 2), with the parameter names of facenet-pytorch.

use engine::nn::{Conv, ConvSettings, Linear, Prelu};
use engine::{Pass, Result, Scope, Tensor};
use kernels::ops::Pool;
use kernels::ops::pool::PoolKind;

/// One network of MTCNN: convolutions with PReLU and pooling, optionally a dense layer, and the heads.
#[derive(Debug, Clone)]
pub struct Stage {
    blocks: Vec<Block>,
    dense: Option<(Linear, Prelu)>,
    heads: Heads,
}

#[derive(Debug, Clone)]
struct Block {
    conv: Conv,
    slope: Prelu,
    pool: Option<Pool>,
}

/// The output layers: the first one classifies, the others regress box and points.
#[derive(Debug, Clone)]
enum Heads {
    /// Applied at every position of the image.
    Everywhere(Vec<Conv>),
    /// Applied once for each window.
    Whole(Vec<Linear>),
}

/// A block's output channels, the extent of its kernel, and that of the pooling after it (0 for none).
type Extents = (usize, usize, usize);

/// The proposal network: classifies the windows of 12 x 12 pixels, at stride 2, of an image of at least that size.
///
/// # Errors
/// When the scope already has its names.
pub fn pnet(mut scope: Scope<'_>) -> Result<Stage> {
    let blocks = blocks(&mut scope, &[(10, 3, 2), (16, 3, 0), (32, 3, 0)])?;
    let point = ConvSettings::new([1; 3]);
    let heads = [("conv4_1", 2), ("conv4_2", 4)]
        .into_iter()
        .map(|(name, outputs)| Conv::new(scope.sub(name), point, 32, outputs, true))
        .collect::<Result<_>>()?;
    Ok(Stage { blocks, dense: None, heads: Heads::Everywhere(heads) })
}

/// The refinement network, for windows of 24 x 24 pixels.
///
/// # Errors
/// When the scope already has its names.
pub fn rnet(mut scope: Scope<'_>) -> Result<Stage> {
    let blocks = blocks(&mut scope, &[(28, 3, 3), (48, 3, 3), (64, 2, 0)])?;
    let dense = dense(&mut scope, 4, [3 * 3 * 64, 128])?;
    let heads = heads(&mut scope, 128, &[("dense5_1", 2), ("dense5_2", 4)])?;
    Ok(Stage { blocks, dense: Some(dense), heads })
}

/// The output network, for windows of 48 x 48 pixels; it also finds five points.
///
/// # Errors
/// When the scope already has its names.
pub fn onet(mut scope: Scope<'_>) -> Result<Stage> {
    let blocks = blocks(&mut scope, &[(32, 3, 3), (64, 3, 3), (64, 3, 2), (128, 2, 0)])?;
    let dense = dense(&mut scope, 5, [3 * 3 * 128, 256])?;
    let heads = heads(&mut scope, 256, &[("dense6_1", 2), ("dense6_2", 4), ("dense6_3", 10)])?;
    Ok(Stage { blocks, dense: Some(dense), heads })
}

fn blocks(scope: &mut Scope<'_>, extents: &[Extents]) -> Result<Vec<Block>> {
    let mut inputs = 3;
    let mut blocks = Vec::new();
    for (number, &(outputs, kernel, pool)) in (1..).zip(extents) {
        let settings = ConvSettings::new([kernel, kernel]);
        let conv =
            Conv::new(scope.sub(format_args!("conv{number}")), settings, inputs, outputs, true)?;
        let slope = Prelu::per_feature(scope.sub(format_args!("prelu{number}")), outputs)?;
        // Extents are rounded up, as in Caffe, which trained the networks.
        let pool = (pool > 0).then_some(Pool {
            kind: PoolKind::Max,
            kernel: [1, pool, pool],
            stride: [1, 2, 2],
            padding: [0; 3],
            ceil: true,
        });
        blocks.push(Block { conv, slope, pool });
        inputs = outputs;
    }
    Ok(blocks)
}

fn dense(
    scope: &mut Scope<'_>,
    number: usize,
    [inputs, outputs]: [usize; 2],
) -> Result<(Linear, Prelu)> {
    let linear = Linear::new(scope.sub(format_args!("dense{number}")), inputs, outputs)?;
    Ok((linear, Prelu::per_feature(scope.sub(format_args!("prelu{number}")), outputs)?))
}

fn heads(scope: &mut Scope<'_>, inputs: usize, heads: &[(&str, usize)]) -> Result<Heads> {
    let head = |&(name, outputs): &(&str, usize)| Linear::new(scope.sub(name), inputs, outputs);
    Ok(Heads::Whole(heads.iter().map(head).collect::<Result<_>>()?))
}

impl Stage {
    /// x `[N, 1, H, W, 3]` of (RGB - 127.5) / 128 to outputs `[N, 1, H', W', 6]` of the proposal network, `[N, 6]` of
    /// the refinement network and `[N, 16]` of the output network. The features are the probabilities of no face and
    /// of a face; the offsets of the box's left, top, right and bottom from the window's, in units of its width and
    /// height; and x of the five points, then y, from its left and top in the same units.
    ///
    /// # Errors
    /// When the windows are too small for the kernels.
    pub fn forward(&self, pass: &Pass<'_>, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        for Block { conv, slope, pool } in &self.blocks {
            x = slope.forward(pass, &conv.forward(pass, &x)?)?;
            if let Some(pool) = pool {
                x = x.pool(*pool)?;
            }
        }
        if let Some((linear, slope)) = &self.dense {
            // The networks were trained on transposed images.
            let [n, _, h, w, c] = x.extents("faces::Stage::forward")?;
            let columns = x.reshape(&[n, h, w, c])?.permute(&[0, 2, 1, 3])?;
            x = slope.forward(pass, &linear.forward(pass, &columns.reshape(&[n, w * h * c])?)?)?;
        }
        let mut parts = match &self.heads {
            Heads::Everywhere(heads) => {
                heads.iter().map(|head| head.forward(pass, &x)).collect::<Result<Vec<_>>>()?
            }
            Heads::Whole(heads) => {
                heads.iter().map(|head| head.forward(pass, &x)).collect::<Result<Vec<_>>>()?
            }
        };
        if let Some(faces) = parts.first_mut() {
            *faces = faces.softmax()?;
        }
        let axis = x.shape().len() - 1;
        Tensor::concat(&parts.iter().collect::<Vec<_>>(), axis)
    }
}
