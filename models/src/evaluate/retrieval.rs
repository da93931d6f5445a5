//! Features of a missing modality from training samples: the nearest ones by the modalities that are present.
//!
//! RAMER (Fan et al. 2024) searches by features of a modality that sample and store share. Where modalities share an
//! embedding space, the store of the missing modality can be searched directly with the embedding of a present one.

use super::Rows;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Vectors of training samples, for exact search by cosine similarity.
#[derive(Debug, Clone)]
pub struct Store {
    /// Unit vectors.
    keys: Rows,
    /// The sample of each vector.
    samples: Vec<usize>,
}

/// A neighbour in a store.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbour {
    /// The sample.
    pub sample: usize,
    /// The cosine similarity.
    pub similarity: f64,
}

/// Why a store cannot be searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store has {have} training samples besides the query, and {wanted} neighbours are asked for; {}", hint(*.have))]
pub struct TooFew {
    /// The samples that can be neighbours.
    pub have: usize,
    /// The neighbours that were asked for.
    pub wanted: usize,
}

fn hint(have: usize) -> String {
    match have {
        0 => "no training sample has both modalities".into(),
        most => format!("ask for at most {most}"),
    }
}

impl Store {
    /// A store of the rows of `vectors` for which `chosen` is true. Row i is of sample i.
    pub fn new(vectors: &Rows, chosen: impl Fn(usize) -> bool) -> Self {
        let samples: Vec<usize> = (0..vectors.len()).filter(|&row| chosen(row)).collect();
        let values = samples.iter().flat_map(|&row| unit(vectors.row(row))).collect();
        Store { keys: Rows { values, width: vectors.width }, samples }
    }

    /// The number of vectors.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether the store has no vectors.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The `count` nearest samples, the most similar first; of equally similar ones the one with the lower number. `but` is a
    /// sample that is no neighbour: the query's own.
    ///
    /// # Errors
    /// When the store has fewer samples.
    pub fn nearest(
        &self,
        query: &[f32],
        count: usize,
        but: Option<usize>,
    ) -> Result<Vec<Neighbour>, TooFew> {
        let query = unit(query);
        let similarity = |row: &[f32]| {
            row.iter().zip(&query).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>()
        };
        let rows = self.keys.values.chunks_exact(self.keys.width.max(1));
        let mut found: Vec<Neighbour> = rows
            .zip(&self.samples)
            .filter(|(_, sample)| Some(**sample) != but)
            .map(|(row, &sample)| Neighbour { sample, similarity: similarity(row) })
            .collect();
        if found.len() < count || count == 0 {
            return Err(TooFew { have: found.len(), wanted: count });
        }
        let order = |a: &Neighbour, b: &Neighbour| {
            b.similarity.total_cmp(&a.similarity).then(a.sample.cmp(&b.sample))
        };
        found.select_nth_unstable_by(count - 1, order);
        found.truncate(count);
        found.sort_unstable_by(order);
        Ok(found)
    }
}

/// How neighbours are weighted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weights {
    /// Equally.
    Mean,
    /// By the softmax of similarity / 0.1.
    Softmax,
}

/// The temperature of [`Weights::Softmax`].
const TEMPERATURE: f64 = 0.1;

/// One present modality of a query: its vector, and the store to search with it.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// The vectors of all queries.
    pub vectors: &'a Rows,
    /// Whether a query has this modality, by its row.
    pub present: &'a [bool],
    /// The store.
    pub store: &'a Store,
}

/// The nearest training samples of each query, by each of its present modalities.
#[derive(Debug, Clone)]
pub struct Found(Vec<Vec<Vec<Neighbour>>>);

impl Found {
    /// Finds the `count` nearest of each query. `own` has the training sample that each query is, and that is no neighbour
    /// of itself.
    ///
    /// # Errors
    /// When a store has fewer samples.
    pub fn search(
        queries: &[Query<'_>],
        count: usize,
        own: Option<&[usize]>,
    ) -> Result<Self, TooFew> {
        let rows = queries.first().map_or(0, |query| query.present.len());
        let one = |row: usize| {
            let present = queries.iter().filter(|query| query.present[row]);
            let but = own.map(|own| own[row]);
            present.map(|query| query.store.nearest(query.vectors.row(row), count, but)).collect()
        };
        (0..rows).into_par_iter().map(one).collect::<Result<_, _>>().map(Found)
    }

    /// The features of the missing modality for each query: the weighted mean of its `count` nearest training samples'
    /// features `values`. Of several present modalities, the one whose last neighbour is nearest is used (Fan et al.). A
    /// query without a present modality gets zeros. `count` is at most that of the search.
    pub fn features(&self, values: &Rows, count: usize, weights: Weights) -> Rows {
        let last = |found: &[Neighbour]| found.last().map_or(f64::MIN, |last| last.similarity);
        let one = |lists: &Vec<Vec<Neighbour>>| {
            let mut best: &[Neighbour] = &[];
            for list in lists {
                let list = &list[..count.min(list.len())];
                if best.is_empty() || last(list) > last(best) {
                    best = list;
                }
            }
            average(best, values, weights)
        };
        Rows { values: self.0.iter().flat_map(one).collect(), width: values.width }
    }
}

fn average(neighbours: &[Neighbour], values: &Rows, weights: Weights) -> Vec<f32> {
    let top = neighbours.first().map_or(0.0, |first| first.similarity);
    let weight = |neighbour: &Neighbour| match weights {
        Weights::Mean => 1.0,
        Weights::Softmax => ((neighbour.similarity - top) / TEMPERATURE).exp(),
    };
    let total: f64 = neighbours.iter().map(weight).sum();
    let mut sum = vec![0.0f64; values.width];
    for neighbour in neighbours {
        let share = weight(neighbour) / total;
        let row = values.row(neighbour.sample);
        sum.iter_mut().zip(row).for_each(|(sum, &v)| *sum += share * f64::from(v));
    }
    sum.into_iter().map(|v| v as f32).collect()
}

/// The unit vector in this direction; zeros stay zeros.
fn unit(vector: &[f32]) -> Vec<f32> {
    let norm = vector.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt().max(1e-12);
    vector.iter().map(|&v| (f64::from(v) / norm) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::Philox;

    fn random(rows: usize, width: usize, key: &str) -> Rows {
        let random = Philox::new(7, key);
        let values = (0..rows * width).map(|i| (random.uniform(i as u64) - 0.5) as f32).collect();
        Rows { values, width }
    }

    #[test]
    fn the_nearest_are_those_of_a_brute_force_search_in_f64() {
        let (rows, queries) = (random(60, 9, "store"), random(20, 9, "queries"));
        let store = Store::new(&rows, |row| row % 3 != 1);
        assert_eq!(store.len(), 40);
        for query in queries.values.chunks(9) {
            let cosine = |row: usize| {
                let dot: f64 = rows
                    .row(row)
                    .iter()
                    .zip(query)
                    .map(|(&a, &b)| f64::from(a) * f64::from(b))
                    .sum();
                let norm = |v: &[f32]| v.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
                dot / norm(rows.row(row)) / norm(query)
            };
            let mut expected: Vec<usize> = (0..60).filter(|row| row % 3 != 1).collect();
            expected.sort_by(|&a, &b| cosine(b).total_cmp(&cosine(a)));
            let found = store.nearest(query, 6, None).unwrap();
            let samples: Vec<usize> = found.iter().map(|neighbour| neighbour.sample).collect();
            assert_eq!(samples, expected[..6]);
            assert!(found.iter().all(|n| (n.similarity - cosine(n.sample)).abs() < 1e-6));
            // Without the first, the second is first.
            let without = store.nearest(query, 5, Some(expected[0])).unwrap();
            assert_eq!(without[0].sample, expected[1]);
        }
    }

    #[test]
    fn equally_similar_samples_are_in_their_order() {
        let rows = Rows { values: vec![1.0, 0.0, 2.0, 0.0, 0.0, 1.0, 3.0, 0.0], width: 2 };
        let store = Store::new(&rows, |_| true);
        let found = store.nearest(&[5.0, 0.0], 3, None).unwrap();
        assert_eq!(found.iter().map(|n| n.sample).collect::<Vec<_>>(), [0, 1, 3]);
        assert_eq!(store.nearest(&[5.0, 0.0], 3, Some(0)).unwrap()[0].sample, 1);
    }

    #[test]
    fn too_few_samples_are_an_error() {
        let store = Store::new(&random(3, 4, "few"), |_| true);
        let query = [1.0, 0.0, 0.0, 0.0];
        assert_eq!(store.nearest(&query, 4, None), Err(TooFew { have: 3, wanted: 4 }));
        assert_eq!(store.nearest(&query, 3, Some(1)), Err(TooFew { have: 2, wanted: 3 }));
        let empty = Store::new(&random(3, 4, "few"), |_| false);
        assert!(empty.is_empty());
        let said = empty.nearest(&query, 1, None).unwrap_err().to_string();
        assert!(said.contains("no training sample has both"), "{said}");
    }

    #[test]
    fn the_modality_with_the_nearer_last_neighbour_is_used() {
        // The second modality has exact matches, the first has none.
        let first = Rows { values: vec![1.0, 0.0, 1.0, 0.1, 1.0, -0.1], width: 2 };
        let second = Rows { values: vec![0.0, 1.0, 0.0, 2.0, 1.0, 0.0], width: 2 };
        let values = Rows { values: vec![10.0, 20.0, 30.0], width: 1 };
        let stores = [Store::new(&first, |_| true), Store::new(&second, |_| true)];
        let query = [
            Rows { values: vec![0.0, 1.0, 1.0, 0.0], width: 2 },
            Rows { values: vec![0.0, 3.0, 0.0, 0.0], width: 2 },
        ];
        let presents = [[true, true], [true, false]];
        let queries: Vec<Query<'_>> = (0..2)
            .map(|m| Query { vectors: &query[m], present: &presents[m], store: &stores[m] })
            .collect();
        let search = |queries: &[Query<'_>], count: usize, own: Option<&[usize]>| {
            Found::search(queries, count, own).unwrap()
        };
        let found = search(&queries, 3, None).features(&values, 2, Weights::Mean);
        // The second query lacks the second modality: samples 0 and 1 are nearest by the first.
        assert_eq!(found.values, [15.0, 15.0]);
        let own = search(&queries[..1], 1, Some(&[0, 1])).features(&values, 1, Weights::Mean);
        // Query 1 is sample 1, so its neighbour is sample 0, which is exact.
        assert_eq!(own.values[1], 10.0);
        let soft = search(&queries[..1], 3, None).features(&values, 3, Weights::Softmax);
        let expected = {
            let norm = 1.01f64.sqrt();
            let weights = [1.0, 1.0 / norm, 1.0 / norm].map(|s: f64| ((s - 1.0) / 0.1).exp());
            (10.0 * weights[0] + 20.0 * weights[1] + 30.0 * weights[2])
                / weights.iter().sum::<f64>()
        };
        assert!(
            (f64::from(soft.values[1]) - expected).abs() < 1e-4,
            "{} {expected}",
            soft.values[1]
        );
    }
}
