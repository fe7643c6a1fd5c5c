//! What makes one host better than another.
//!
//! A score is a sum: for each weighed resource class, weight times the share of the class that would be free
//! afterwards (so a positive weight spreads and a negative one packs), then the adjustments below, each in
//! this order. It is computed in `f32` with plain multiplications and additions, one host at a time in effect,
//! so every machine and every path through the code finds the same bits.
use crate::error::PlacementError;
use crate::spec::Request;
use crate::symbols::{ClassId, Symbols, TagId, TagKind};

/// An `f32` that may be compared and hashed: by its bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Bits(u32);

impl Bits {
    pub(crate) fn new(value: f32) -> Self {
        Self((value + 0.0).to_bits())
    }

    pub(crate) fn value(self) -> f32 {
        f32::from_bits(self.0)
    }
}

/// A weighed resource class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ClassWeight {
    pub(crate) class: ClassId,
    pub(crate) asked: Bits,
    pub(crate) weight: Bits,
}

/// The weights of one request, by name in [`Request::weights`]:
///
/// - a resource class: how much its free share counts. Without `weights` each class asked for counts 1; with
///   it, classes that it doesn't name count 0.
/// - `maintenance` (-1000): added for a host that is about to be worked on.
/// - `devices` (-1): added for a host with nested providers if the request asks nothing of one by name.
/// - `soft_affinity` (1) and `soft_anti_affinity` (1): times the group's members on the host, added or taken away.
/// - `trait:NAME`: added for a host that has the trait.
/// - `metric:NAME`: times the host's metric, added.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Weights {
    pub(crate) classes: Vec<ClassWeight>,
    pub(crate) maintenance: Bits,
    pub(crate) devices: Bits,
    pub(crate) traits: Vec<(TagId, Bits)>,
    pub(crate) metrics: Vec<(ClassId, Bits)>,
}

impl Weights {
    pub(crate) fn read(request: &Request, symbols: &Symbols) -> Result<Self, PlacementError> {
        let asked = |class: &str| request.resources.get(class).copied().unwrap_or_default() as f32;
        let class = |name: &str, weight: f64| ClassWeight {
            class: symbols.class(name),
            asked: Bits::new(asked(name)),
            weight: Bits::new(weight as f32),
        };
        let mut weights = Self {
            classes: Vec::new(),
            maintenance: Bits::new(-1000.0),
            devices: Bits::new(if request.groups.is_empty() { -1.0 } else { 0.0 }),
            traits: Vec::new(),
            metrics: Vec::new(),
        };
        let Some(given) = &request.weights else {
            weights.classes = request.resources.keys().map(|name| class(name, 1.0)).collect();
            return Ok(weights);
        };
        for (name, weight) in given {
            if !weight.is_finite() || weight.abs() > 1e9 {
                return Err(PlacementError::wrong(format!("weight {name}: {weight} isn't between -1e9 and 1e9")));
            }
            let bits = Bits::new(*weight as f32);
            match name.split_once(':') {
                Some(("trait", name)) => weights.traits.push((symbols.tag(TagKind::Trait, name), bits)),
                Some(("metric", name)) => weights.metrics.push((symbols.metric(name), bits)),
                Some(_) => return Err(PlacementError::wrong(format!("no weight is called {name:?}"))),
                None if name == "maintenance" => weights.maintenance = bits,
                None if name == "devices" && request.groups.is_empty() => weights.devices = bits,
                None if matches!(name.as_str(), "devices" | "soft_affinity" | "soft_anti_affinity") => {}
                None => weights.classes.push(class(name, *weight)),
            }
        }
        Ok(weights)
    }
}

/// The weight of a member of the server's group on a host.
pub(crate) fn member_weight(request: &Request, name: &str) -> f32 {
    request.weights.as_ref().and_then(|weights| weights.get(name)).map_or(1.0, |weight| *weight as f32)
}
