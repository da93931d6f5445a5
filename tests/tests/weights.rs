//! Weights that PyTorch saved, in our network: every number in its place.

use crate::fixture::{Fixture, folder, list};
use crate::network;
use data::formats::weights::{Format, Weights};
use engine::{DType, Parameters};
use models::backbones::{R2Plus1d, R2Plus1dSettings};
use models::weights::{Match, Source, load};

/// The network of the fixture `model_face`, its parameters not yet filled.
fn face(fixture: &Fixture) -> Parameters {
    let mut settings = fixture.description["settings"].clone();
    settings.as_object_mut().unwrap().remove("kind");
    let settings: R2Plus1dSettings = serde_json::from_value(settings).unwrap();
    let mut parameters = Parameters::new(DType::F32, 0);
    let shape = list(&fixture.description["input"]);
    R2Plus1d::new(&settings, parameters.scope(), &shape[1..]).unwrap();
    parameters
}

#[test]
fn torch_save_fills_the_network_to_the_bit() {
    let fixture = Fixture::read("model_face");
    let mut expected = face(&fixture);
    network::fill(&mut expected, &fixture.description);
    for (file, format, prefix, others) in [
        ("face.pt", Format::TorchZip, "", 0),
        ("face_checkpoint_legacy.pt", Format::TorchLegacy, "state_dict.module.", 2),
    ] {
        let weights = Weights::open(&folder().join("weights").join(file)).unwrap();
        assert_eq!((weights.format(), weights.others()), (format, others), "{file}");
        let entries = weights.entries();
        let sources: Vec<Source<'_>> = entries
            .iter()
            .map(|entry| Source { name: entry.name(), shape: entry.shape() })
            .collect();
        let mut parameters = face(&fixture);
        let matched = Match::new(&parameters, "", &sources);
        assert_eq!(matched.prefix, prefix);
        let nothing = (&matched.missing[..], &matched.extra[..], &matched.reshaped[..]);
        assert_eq!(nothing, (&[][..], &[][..], &[][..]), "{file}");
        for (name, number) in &matched.found {
            load(&mut parameters, name, weights.values(&entries[*number]).unwrap().data()).unwrap();
        }
        for id in parameters.ids() {
            let [got, wanted] =
                [&parameters, &expected].map(|p| p.export(id).unwrap().to_vec().unwrap());
            assert_eq!(got, wanted, "{file}: {}", parameters.name(id));
        }
    }
}
