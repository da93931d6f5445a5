//! The graph of facial landmarks: the edges of the 68-point markup and their normalisation.

use engine::{Constants, Pass, Result, Tensor};
use serde::{Deserialize, Serialize};

/// Edges between the 51 inner points, by their indices in the 68-point markup. They are those of the paper's authors,
/// with 22-24 where one would expect 22-23.
const INNER: [(usize, usize); 65] = [
    // Brows, and brows to eyes.
    (17, 18),
    (18, 19),
    (19, 20),
    (20, 21),
    (21, 22),
    (22, 24),
    (23, 24),
    (23, 25),
    (25, 26),
    (17, 36),
    (26, 45),
    // Nose, nose to eyes, nose to mouth.
    (27, 28),
    (28, 29),
    (29, 30),
    (30, 33),
    (31, 32),
    (32, 33),
    (33, 34),
    (34, 35),
    (27, 31),
    (27, 35),
    (27, 39),
    (27, 42),
    (33, 51),
    // Eyes, and eyes to the corners of the mouth.
    (36, 37),
    (37, 38),
    (38, 39),
    (39, 40),
    (40, 41),
    (36, 41),
    (42, 43),
    (43, 44),
    (44, 45),
    (45, 46),
    (46, 47),
    (42, 47),
    (36, 48),
    (45, 54),
    // Outer lip, bridges, inner lip with two chords.
    (48, 49),
    (49, 50),
    (50, 51),
    (51, 52),
    (52, 53),
    (53, 54),
    (54, 55),
    (55, 56),
    (56, 57),
    (57, 58),
    (58, 59),
    (48, 59),
    (48, 60),
    (50, 61),
    (51, 62),
    (52, 63),
    (54, 64),
    (60, 61),
    (61, 62),
    (62, 63),
    (63, 64),
    (64, 65),
    (65, 66),
    (66, 67),
    (60, 67),
    (61, 67),
    (63, 65),
];

/// The first inner point: the 17 before it are the jaw.
const JAW: usize = 17;
/// The tip of the nose.
const CENTRE: usize = 30;

/// The grouping of edges into partitions, each with its own weights (Yan et al. 2018, section 3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Partition {
    /// One partition with all edges.
    Uniform,
    /// Two partitions: the point itself, and its neighbours.
    Distance,
    /// Three partitions: the point itself, neighbours farther from the nose, and neighbours nearer to it.
    Spatial,
}

impl Partition {
    /// The number of partitions.
    pub fn count(self) -> usize {
        match self {
            Partition::Uniform => 1,
            Partition::Distance => 2,
            Partition::Spatial => 3,
        }
    }
}

/// A graph of landmarks: a list of directed edges, sorted by partition and target.
#[derive(Debug, Clone)]
pub struct FaceGraph {
    /// The number of points.
    pub points: usize,
    /// The number of partitions of its edges.
    pub partitions: usize,
    edges: Vec<Edge>,
    /// Its tensors, by name.
    tensors: Constants<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Edge {
    partition: usize,
    target: usize,
    source: usize,
    value: f64,
}

impl FaceGraph {
    /// Whether there is a graph of `points` points: 51 or 68.
    pub fn exists(points: usize) -> bool {
        points == 51 || points == 68
    }

    /// Symmetric normalisation D^-1/2 (A + self_loops I) D^-1/2 in one partition, for 51 or 68 points. `self_loops`
    /// is 2 in the code of the paper's authors, 1 in Kipf & Welling 2017.
    pub fn symmetric(points: usize, self_loops: f64) -> Self {
        let mut matrix = adjacency(points);
        for (i, row) in matrix.iter_mut().enumerate() {
            row[i] += self_loops;
        }
        let root: Vec<f64> =
            matrix.iter().map(|row| row.iter().sum::<f64>().sqrt().recip()).collect();
        let normal = |i: usize, j: usize, value: f64| value * root[i] * root[j];
        FaceGraph::from_matrices(points, &[scaled(&matrix, normal)])
    }

    /// Yan et al.'s partitions of (A + I) D^-1, for 51 or 68 points.
    pub fn partitioned(points: usize, partition: Partition) -> Self {
        let mut matrix = adjacency(points);
        for (i, row) in matrix.iter_mut().enumerate() {
            row[i] += 1.0;
        }
        let columns: Vec<f64> =
            (0..points).map(|j| matrix.iter().map(|row| row[j]).sum()).collect();
        let normal = scaled(&matrix, |_, j, value| value / columns[j]);
        let hops = hops(&adjacency(points), CENTRE - (68 - points));
        let belongs = |k: usize, source: usize, target: usize| match partition {
            Partition::Uniform => true,
            Partition::Distance => (k == 0) == (source == target),
            // A neighbour at equal distance from the nose is in the nearer partition, as in st-gcn.
            Partition::Spatial => match k {
                0 => source == target,
                1 => source != target && hops[source] >= hops[target],
                _ => hops[source] < hops[target],
            },
        };
        let matrices: Vec<Vec<Vec<f64>>> = (0..partition.count())
            .map(|k| scaled(&normal, |i, j, value| if belongs(k, i, j) { value } else { 0.0 }))
            .collect();
        FaceGraph::from_matrices(points, &matrices)
    }

    /// A graph from matrices with sources as rows and targets as columns.
    fn from_matrices(points: usize, matrices: &[Vec<Vec<f64>>]) -> Self {
        let mut edges = Vec::new();
        for (partition, matrix) in matrices.iter().enumerate() {
            for target in 0..points {
                for (source, row) in matrix.iter().enumerate() {
                    if row[target] != 0.0 {
                        edges.push(Edge { partition, target, source, value: row[target] });
                    }
                }
            }
        }
        FaceGraph { points, partitions: matrices.len(), edges, tensors: Constants::default() }
    }

    /// The edges' values `[E]`, of the type of the pass.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn values(&self, pass: &Pass<'_>) -> Result<Tensor> {
        pass.constant(&self.tensors, "values", || {
            let values: Vec<f64> = self.edges.iter().map(|edge| edge.value).collect();
            Tensor::from_slice(&values, &[values.len()])?.to(pass.dtype())
        })
    }

    /// Targets, sources and partitions of the edges, `[E]` each.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn structure(&self, pass: &Pass<'_>) -> Result<[Tensor; 3]> {
        Ok([
            self.list(pass, "targets", |e| e.target)?,
            self.list(pass, "sources", |e| e.source)?,
            self.list(pass, "partitions", |e| e.partition)?,
        ])
    }

    /// The index `[E]` of each edge in an array `[partitions, points, points]` whose second axis is the source: the
    /// layout of st-gcn's edge importance.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn positions(&self, pass: &Pass<'_>) -> Result<Tensor> {
        let n = self.points;
        self.list(pass, "positions", |e| (e.partition * n + e.source) * n + e.target)
    }

    /// A number of each edge `[E]`.
    fn list(
        &self,
        pass: &Pass<'_>,
        name: &'static str,
        number: impl Fn(&Edge) -> usize,
    ) -> Result<Tensor> {
        pass.constant(&self.tensors, name, || {
            let numbers: Vec<u32> = self.edges.iter().map(|edge| number(edge) as u32).collect();
            Tensor::from_slice(&numbers, &[numbers.len()])
        })
    }
}

/// The symmetric 0/1 adjacency of the 51 inner points, or of all 68, with the jaw as a chain between the brows.
fn adjacency(points: usize) -> Vec<Vec<f64>> {
    let skip = 68 - points;
    let mut matrix = vec![vec![0.0; points]; points];
    let mut connect = |a: usize, b: usize| {
        matrix[a - skip][b - skip] = 1.0;
        matrix[b - skip][a - skip] = 1.0;
    };
    INNER.iter().for_each(|&(a, b)| connect(a, b));
    if skip == 0 {
        (0..JAW - 1).for_each(|i| connect(i, i + 1));
        connect(0, 17);
        connect(16, 26);
    }
    matrix
}

fn scaled(matrix: &[Vec<f64>], value: impl Fn(usize, usize, f64) -> f64) -> Vec<Vec<f64>> {
    let row = |(i, row): (usize, &Vec<f64>)| {
        row.iter().enumerate().map(|(j, &v)| value(i, j, v)).collect()
    };
    matrix.iter().enumerate().map(row).collect()
}

/// The number of edges from the centre to each point.
fn hops(matrix: &[Vec<f64>], centre: usize) -> Vec<usize> {
    let mut hops = vec![usize::MAX; matrix.len()];
    hops[centre] = 0;
    let mut frontier = vec![centre];
    while let Some(point) = frontier.first().copied() {
        frontier.remove(0);
        for (next, &edge) in matrix[point].iter().enumerate() {
            if edge != 0.0 && hops[next] == usize::MAX {
                hops[next] = hops[point] + 1;
                frontier.push(next);
            }
        }
    }
    hops
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authors_graph() {
        let matrix = adjacency(51);
        let degrees: Vec<f64> = matrix.iter().map(|row| row.iter().sum()).collect();
        assert_eq!(degrees.iter().sum::<f64>(), 130.0);
        assert!(degrees.iter().all(|d| (2.0..=5.0).contains(d)), "{degrees:?}");
        assert!(hops(&matrix, CENTRE - JAW).iter().all(|&h| h < 51), "one component");
        assert!(matrix.iter().enumerate().all(|(i, row)| row[i] == 0.0));
    }

    #[test]
    fn all_points_are_connected() {
        assert!(hops(&adjacency(68), CENTRE).iter().all(|&h| h < 68));
    }

    #[test]
    fn partitions_share_the_edges_out() {
        let whole = FaceGraph::partitioned(68, Partition::Uniform);
        let spatial = FaceGraph::partitioned(68, Partition::Spatial);
        assert_eq!(whole.edges.len(), spatial.edges.len());
        assert_eq!(spatial.partitions, 3);
        // Column sums are 1: a walk from a source spreads over its targets.
        for j in 0..68 {
            let sum: f64 = whole.edges.iter().filter(|e| e.target == j).map(|e| e.value).sum();
            assert!((sum - 1.0).abs() < 1e-12);
        }
        let order: Vec<_> = spatial.edges.iter().map(|e| (e.partition, e.target)).collect();
        assert!(order.is_sorted());
    }
}
