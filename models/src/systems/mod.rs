//! Systems: networks and the loss that trains them.
//!
//! To add a system, add one file with `impl System` and `impl Definition`, and its name to `systems! {}` below. No code
//! of training, evaluation, bundles, reports or the configuration depends on a single system.

mod batch;
mod encoders;
mod system;

pub use batch::{Batch, Input};
pub use encoders::{EncoderSettings, Encoders};
pub use system::{
    Definition, Loss, LossParts, Needs, Outputs, Parts, Phase, Plateau, Refusal, System, Teacher,
};

use engine::{Result, Scope};
use serde::{Deserialize, Deserializer, Serialize};

macro_rules! systems {
    ($($module:ident::$System:ident),* $(,)?) => {
        $(mod $module; pub use $module::*;)*

        /// The settings of all systems: `[system.NAME]` in a configuration.
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct SystemDefaults {
            $(
                #[doc = concat!("Settings of [`", stringify!($System), "`].")]
                pub $module: <$System as Definition>::Settings,
            )*
        }

        /// One system with its settings.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "system", rename_all = "snake_case")]
        pub enum SystemSettings {
            $(
                #[doc = concat!("Makes [`", stringify!($System), "`].")]
                $System(<$System as Definition>::Settings),
            )*
        }

        /// The names of all systems, in the order of the list.
        pub const NAMES: &[&str] = &[$(<$System as Definition>::NAME),*];

        impl SystemSettings {
            /// Reads the settings of the system with this name; `None` if there is no such system.
            ///
            /// # Errors
            /// When a setting is unknown or has another type.
            pub fn read<'de, D: Deserializer<'de>>(
                name: &str,
                settings: D,
            ) -> Option<std::result::Result<Self, D::Error>> {
                $(if name == <$System as Definition>::NAME {
                    return Some(Deserialize::deserialize(settings).map(SystemSettings::$System));
                })*
                None
            }

            /// The system's name.
            pub fn name(&self) -> &'static str {
                match self {
                    $(SystemSettings::$System(_) => <$System as Definition>::NAME,)*
                }
            }

            /// See [`Definition::check`].
            ///
            /// # Errors
            /// The first invalid setting.
            pub fn check(&self) -> std::result::Result<(), Refusal> {
                match self {
                    $(SystemSettings::$System(settings) => $System::check(settings),)*
                }
            }

            /// See [`Definition::needs`].
            pub fn needs(&self) -> Needs {
                match self {
                    $(SystemSettings::$System(settings) => $System::needs(settings),)*
                }
            }

            /// See [`Definition::new`].
            ///
            /// # Errors
            /// When the settings do not match the encoders.
            pub fn build(&self, parts: Parts<'_>, scope: Scope<'_>) -> Result<Box<dyn System>> {
                Ok(match self {
                    $(SystemSettings::$System(settings) => {
                        Box::new(<$System as Definition>::new(settings, parts, scope)?)
                    })*
                })
            }
        }
    };
}

systems! {
    mpuc::Mpuc,
    late_fusion::LateFusion,
    unimodal::Unimodal,
    attention::Attention,
    vavl::Vavl,
    cae_lr::CaeLr,
    masked::Masked,
    voice_to_face::VoiceToFace,
    speaker::Speaker,
    ccl::Ccl,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_system_is_its_key_in_a_configuration() {
        let defaults = serde_json::to_value(SystemDefaults::default()).unwrap();
        for &name in NAMES {
            let settings = defaults.get(name).unwrap_or_else(|| panic!("no [system.{name}]"));
            let read = SystemSettings::read(name, settings).unwrap().unwrap();
            assert_eq!((read.name(), read.check()), (name, Ok(())));
            let written = serde_json::to_value(&read).unwrap();
            assert_eq!(written["system"], name, "the struct's name in snake case is the system's");
        }
        assert_eq!(defaults.as_object().map(|all| all.len()), Some(NAMES.len()));
        assert!(SystemSettings::read("nobody", serde_json::Value::Null).is_none());
    }
}
