//! Features of a missing modality from the training samples that are nearest by the others.

use super::missing::{Missing, Probed};
use crate::failure::Result;
use models::evaluate::metrics::score;
use models::evaluate::{Found, HostOutputs, Query, Rows, Store, Weights};

/// The most samples on which the number of neighbours is chosen.
const CHOOSING: usize = 500;

/// Stores of training samples for one missing modality, one for each modality to search with.
pub struct Retriever<'a> {
    missing: &'a Missing<'a>,
    probed: &'a Probed<'a>,
    /// The networks' outputs for the training samples.
    known: &'a HostOutputs,
    /// The missing modality, and those to search with, by their numbers in the networks.
    modality: usize,
    others: Vec<usize>,
    /// Whether embeddings are searched, in place of features.
    cross: bool,
    stores: Vec<Store>,
    /// The numbers of neighbours that every store has.
    counts: Vec<usize>,
}

impl<'a> Retriever<'a> {
    /// Stores of the training samples that have the modality. For a search by features they must also have the modality to
    /// search with; for a search by embeddings the system must have some. `None` if a store has too few samples.
    pub fn new(
        missing: &'a Missing<'a>,
        probed: &'a Probed<'a>,
        known: &'a HostOutputs,
        modality: usize,
        cross: bool,
    ) -> Option<Self> {
        let train = &missing.split.train;
        let others = probed.columns.iter().copied().filter(|&other| other != modality);
        let others: Vec<usize> = others.collect();
        let own = missing.has(train, modality);
        let store = |&other: &usize| match cross {
            true => Store::new(&known.embeddings[modality], |row| own[row]),
            false => {
                let both = missing.has(train, other);
                Store::new(&known.features[other], |row| own[row] && both[row])
            }
        };
        let stores: Vec<Store> = others.iter().map(store).collect();
        let fewest = stores.iter().map(Store::len).min().unwrap_or(0);
        let counts = missing.config.neighbours.iter().copied().filter(|&count| count < fewest);
        let counts: Vec<usize> = counts.collect();
        let retriever =
            Retriever { missing, probed, known, modality, others, cross, stores, counts };
        (!retriever.counts.is_empty()).then_some(retriever)
    }

    /// The missing features of these samples, from the networks' outputs for them without the modality. `None` if no
    /// labelled sample allows a choice of the number of neighbours.
    ///
    /// # Errors
    /// When a feature cannot be read.
    pub fn features(&self, outputs: &HostOutputs, samples: &[usize]) -> Result<Option<Rows>> {
        let Some((count, weights)) = self.choose()? else { return Ok(None) };
        let found = self.search(outputs, samples, None);
        Ok(found.map(|found| found.features(&self.known.features[self.modality], count, weights)))
    }

    /// The nearest training samples; `own` has the place of each sample in the training part, where it is no neighbour of
    /// itself.
    fn search(
        &self,
        outputs: &HostOutputs,
        samples: &[usize],
        own: Option<&[usize]>,
    ) -> Option<Found> {
        let tables = if self.cross { &outputs.embeddings } else { &outputs.features };
        let present: Vec<Vec<bool>> =
            self.others.iter().map(|&other| self.missing.has(samples, other)).collect();
        let queries = self.others.iter().zip(&present).zip(&self.stores);
        let queries = queries.map(|((&other, present), store)| Query {
            vectors: &tables[other],
            present,
            store,
        });
        let most = self.counts.iter().max()?;
        Found::search(&queries.collect::<Vec<_>>(), *most, own).ok()
    }

    /// The number of neighbours and their weights with the best score on the labelled samples of the validation part;
    /// without one, of the training part, none its own neighbour.
    fn choose(&self) -> Result<Option<(usize, Weights)>> {
        let Missing { prepared, split, .. } = self.missing;
        let held_out = prepared.labelled(&split.validation);
        let (samples, outputs, own) = if held_out.is_empty() {
            let labelled = |&place: &usize| prepared.labels[split.train[place]].is_some();
            let places: Vec<usize> =
                (0..split.train.len()).filter(labelled).take(CHOOSING).collect();
            let samples: Vec<usize> = places.iter().map(|&place| split.train[place]).collect();
            let pick = |tables: &[Rows]| tables.iter().map(|rows| rows.pick(&places)).collect();
            let HostOutputs { features, embeddings, .. } = self.known;
            let (features, embeddings) = (pick(features), pick(embeddings));
            let outputs = HostOutputs { features, embeddings, ..HostOutputs::default() };
            (samples, outputs, Some(places))
        } else {
            let samples: Vec<usize> = held_out.into_iter().take(CHOOSING).collect();
            let outputs = self.missing.outputs(&samples, None)?;
            (samples, outputs, None)
        };
        let Some(truth) = prepared.targets(&samples) else { return Ok(None) };
        let Some(found) = self.search(&outputs, &samples, own.as_deref()) else { return Ok(None) };
        let mut tables = outputs.features;
        let mut best = None;
        for &count in &self.counts {
            for weights in [Weights::Mean, Weights::Softmax] {
                let values = &self.known.features[self.modality];
                tables[self.modality] = found.features(values, count, weights);
                let predicted = self.probed.probe.predict(&self.probed.joined(&tables))?;
                let figure = score(&predicted, &truth);
                if best.is_none_or(|(highest, _)| figure > highest) {
                    best = Some((figure, (count, weights)));
                }
            }
        }
        Ok(best.map(|(_, choice)| choice))
    }
}
