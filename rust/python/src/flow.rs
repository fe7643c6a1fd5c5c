//! Binds the flow crate: `FlowState` and `FlowDiff`.
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Mutex;

use ostro_flow::numbers::NumberOf;
use ostro_flow::words::FlowInWords;
use ostro_flow::{Change, Diff, Directory, MetadataPort, Noun, State, Uplinks};
use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pythonize::depythonize;
use serde::Deserialize;

use crate::openflow::SwitchEvent;
use crate::shared::{dispose, held, with};

/// Bodies longer than this are read without the interpreter: at some 200 MB/s they may take longer than 50 microseconds.
const LONG_BODY_BYTES: usize = 10_000;
/// Giving so many flows' memory back does.
const FLOWS_LONG: usize = 500;

/// Whether a wish of this noun concerns many others: each port of a network, each member of a group.
const fn spreads(noun: Noun) -> bool {
    matches!(noun, Noun::Network | Noun::SecurityGroup | Noun::Router)
}

#[derive(Deserialize)]
struct MetadataSpec {
    port: u32,
    mac: String,
    address: Ipv4Addr,
    tcp_port: u16,
    aliases: String,
}

#[derive(Deserialize)]
struct UplinkSpec {
    metadata: Option<MetadataSpec>,
    vxlan: Option<u32>,
    gre: Option<u32>,
    geneve: Option<u32>,
    #[serde(default)]
    physical: BTreeMap<String, u32>,
}

fn uplinks(spec: UplinkSpec) -> Result<Uplinks, String> {
    let metadata = spec.metadata.map(|metadata| {
        Ok::<_, String>(MetadataPort {
            port: metadata.port,
            mac: metadata.mac.parse()?,
            address: metadata.address,
            tcp_port: metadata.tcp_port,
            aliases: metadata.aliases.parse().map_err(|error| format!("aliases: {error}"))?,
        })
    });
    let UplinkSpec { vxlan, gre, geneve, physical, .. } = spec;
    Ok(Uplinks { metadata: metadata.transpose()?, vxlan, gre, geneve, physical })
}

fn known(name: &str) -> PyResult<Noun> {
    Noun::named(name).ok_or_else(|| PyKeyError::new_err(format!("{name} is no noun of the network")))
}

const KINDS: [(NumberOf, &str); 3] =
    [(NumberOf::Network, "network"), (NumberOf::Group, "security_group"), (NumberOf::Router, "router")];

type Numbers = Vec<(&'static str, String, u32)>;

/// See `_core.pyi`.
#[pyclass(frozen, module = "ostro._core")]
pub struct FlowState {
    state: Mutex<State>,
}

impl Drop for FlowState {
    fn drop(&mut self) {
        let state = std::mem::take(&mut *held(&self.state));
        let long = state.len() > FLOWS_LONG;
        dispose(state, long);
    }
}

impl FlowState {
    /// Work with the state. The interpreter is released while waiting for it, and while `long` work is done.
    fn with<T: Send>(&self, py: Python<'_>, long: bool, work: impl FnOnce(&mut State) -> T + Send) -> PyResult<T> {
        with(py, &self.state, |_| long, work)
    }

    /// What answers packets that the switch sends up.
    pub fn directory(&self, py: Python<'_>) -> PyResult<Directory> {
        self.with(py, false, |state| state.directory())
    }
}

#[pymethods]
impl FlowState {
    #[new]
    fn new() -> Self {
        Self { state: Mutex::default() }
    }

    fn put(&self, py: Python<'_>, noun: &str, id: &str, body: &[u8]) -> PyResult<()> {
        let noun = known(noun)?;
        let long = spreads(noun) || body.len() > LONG_BODY_BYTES;
        self.with(py, long, |state| state.put(noun, id, body))?
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }

    fn drop(&self, py: Python<'_>, noun: &str, id: &str) -> PyResult<()> {
        let noun = known(noun)?;
        self.with(py, spreads(noun), |state| state.drop_wish(noun, id))
    }

    fn bind(&self, py: Python<'_>, port_id: &str, number: Option<u32>) -> PyResult<()> {
        self.with(py, false, |state| state.bind(port_id, number))
    }

    fn set_uplinks(&self, py: Python<'_>, uplinks: &Bound<'_, PyAny>) -> PyResult<()> {
        let spec = depythonize(uplinks).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let uplinks = self::uplinks(spec).map_err(PyValueError::new_err)?;
        self.with(py, true, |state| state.put_uplinks(uplinks))
    }

    fn restore_number(&self, py: Python<'_>, kind: &str, id: &str, number: u32) -> PyResult<()> {
        let found = KINDS.iter().find(|(_, name)| *name == kind).map(|(kind, _)| *kind);
        let kind = found.ok_or_else(|| PyKeyError::new_err(format!("{kind} has no numbers")))?;
        self.with(py, false, |state| state.restore_number(kind, id, number))
    }

    fn take_changed_numbers(&self, py: Python<'_>) -> PyResult<Option<Numbers>> {
        let named = |kind| KINDS.iter().find(|(known, _)| *known == kind).map_or("", |(_, name)| name);
        self.with(py, true, |state| {
            let changed = state.take_changed_numbers()?;
            Some(changed.into_iter().map(|(kind, id, number)| (named(kind), id.to_string(), number)).collect())
        })
    }

    fn commit(&self, py: Python<'_>) -> PyResult<FlowDiff> {
        let (changes, fresh_zones) = self.with(py, true, |state| (state.commit(), state.take_fresh_zones()))?;
        Ok(FlowDiff { changes: Mutex::new(Some((changes, fresh_zones))) })
    }

    fn plug_facts(&self, py: Python<'_>, port_id: &str) -> PyResult<Option<(String, String, u16)>> {
        self.with(py, false, |state| {
            state.plug_facts(port_id).map(|facts| (facts.tap.to_owned(), facts.mac, facts.mtu))
        })
    }

    fn port_at(&self, py: Python<'_>, address: &str) -> PyResult<Option<String>> {
        let Ok(alias) = address.parse() else { return Ok(None) };
        self.with(py, false, |state| state.port_at(alias).map(ToString::to_string))
    }

    fn words(&self, py: Python<'_>) -> PyResult<Vec<FlowInWords>> {
        self.with(py, true, |state| state.flows_in_words())
    }

    fn describe(&self, py: Python<'_>, event: &SwitchEvent) -> PyResult<Vec<FlowInWords>> {
        let flows = event.flows();
        self.with(py, true, |state| {
            let names = state.names();
            flows.iter().map(|held| ostro_flow::words::in_words(&held.flow, held.packets, &names)).collect()
        })
    }

    fn stats(&self, py: Python<'_>) -> PyResult<BTreeMap<&'static str, u64>> {
        let (stats, flows) = self.with(py, false, |state| (state.stats(), state.len() as u64))?;
        let all = [
            ("units_computed", stats.units_computed),
            ("flows_computed", stats.flows_computed),
            ("commits", stats.commits),
            ("flows", flows),
        ];
        Ok(all.into_iter().collect())
    }
}

/// See `_core.pyi`.
#[pyclass(frozen, module = "ostro._core")]
pub struct FlowDiff {
    changes: Mutex<Option<(Diff, Vec<u16>)>>,
}

impl Drop for FlowDiff {
    fn drop(&mut self) {
        let changes = held(&self.changes).take();
        let long = changes.as_ref().is_some_and(|(changes, _)| changes.len() > FLOWS_LONG);
        dispose(changes, long);
    }
}

impl FlowDiff {
    /// Hands the changes over; once.
    pub fn take(&self) -> PyResult<(Diff, Vec<u16>)> {
        let taken = held(&self.changes).take();
        taken.ok_or_else(|| PyValueError::new_err("this difference has been sent already"))
    }
}

#[pymethods]
impl FlowDiff {
    fn counts(&self, py: Python<'_>) -> (usize, usize, usize) {
        py.detach(|| {
            let changes = held(&self.changes);
            let changes = changes.as_ref().map_or(&[][..], |(changes, _)| changes);
            let count = |of: fn(&Change) -> bool| changes.iter().filter(|change| of(change)).count();
            (
                count(|change| matches!(change, Change::Add(_))),
                count(|change| matches!(change, Change::Modify(_))),
                count(|change| matches!(change, Change::Remove(_))),
            )
        })
    }
}

/// The names of this file in the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<FlowState>()?;
    module.add_class::<FlowDiff>()
}
