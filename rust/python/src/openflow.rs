//! Binds the openflow crate: `Switch` and `SwitchEvent`.
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Mutex;

use ostro_flow::field::Field;
use ostro_flow::program::Program;
use ostro_openflow::group::{Bucket, Group, Kind};
use ostro_openflow::link::Link;
use ostro_openflow::session::{Counts, Event};
use ostro_openflow::wire::HeldFlow;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pythonize::depythonize;
use serde::Deserialize;

use crate::error::guarded;
use crate::flow::{FlowDiff, FlowState};
use crate::shared::{dispose, held};

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindSpec {
    All,
    Select,
    Indirect,
    Failover,
}

impl From<KindSpec> for Kind {
    fn from(spec: KindSpec) -> Self {
        match spec {
            KindSpec::All => Self::All,
            KindSpec::Select => Self::Select,
            KindSpec::Indirect => Self::Indirect,
            KindSpec::Failover => Self::Failover,
        }
    }
}

const fn one() -> u16 {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BucketSpec {
    output: u32,
    #[serde(default)]
    tunnel_ip: Option<Ipv4Addr>,
    #[serde(default = "one")]
    weight: u16,
    #[serde(default)]
    watch_port: Option<u32>,
}

impl From<BucketSpec> for Bucket {
    fn from(spec: BucketSpec) -> Self {
        let towards = spec.tunnel_ip.map_or_else(Program::new, |ip| Program::new().set_v4(Field::TunDst, ip));
        Self { weight: spec.weight, watch_port: spec.watch_port, ..Self::new(&towards.output(spec.output)) }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupSpec {
    kind: KindSpec,
    buckets: BTreeMap<u32, BucketSpec>,
}

fn group((number, spec): (u16, GroupSpec)) -> PyResult<(u16, Group)> {
    let buckets = spec.buckets.into_iter().map(|(number, bucket)| (number, bucket.into())).collect();
    let group = Group::new(spec.kind.into(), buckets);
    Ok((number, group.map_err(|error| PyValueError::new_err(format!("group {number}: {error}")))?))
}

type GroupInWords = (u16, &'static str, Vec<(u32, String)>);

/// See `_core.pyi`.
#[pyclass(frozen, module = "ostro._core")]
pub struct Switch {
    link: Mutex<Option<Link>>,
}

impl Drop for Switch {
    fn drop(&mut self) {
        // It waits for the thread that talks to the switch.
        dispose(held(&self.link).take(), true);
    }
}

impl Switch {
    /// Ask of the link, which only notes what is asked for: its own thread does it.
    fn with<T>(&self, work: impl FnOnce(&mut Link) -> PyResult<T>) -> PyResult<T> {
        guarded(|| {
            let mut link = held(&self.link);
            work(link.as_mut().ok_or_else(|| PyValueError::new_err("the link to the switch has been closed"))?)
        })
    }
}

#[pymethods]
impl Switch {
    #[new]
    fn new(py: Python<'_>, path: PathBuf, state: &FlowState) -> PyResult<Self> {
        let link = Link::open(path, state.directory(py)?).map_err(|error| PyOSError::new_err(error.to_string()))?;
        Ok(Self { link: Mutex::new(Some(link)) })
    }

    fn fileno(&self) -> PyResult<i32> {
        self.with(|link| Ok(link.news().as_raw_fd()))
    }

    fn sync(&self, diff: &FlowDiff) -> PyResult<u64> {
        let (changes, fresh_zones) = diff.take()?;
        self.with(|link| Ok(link.sync(changes, fresh_zones)))
    }

    fn sync_groups(&self, groups: &Bound<'_, PyAny>) -> PyResult<u64> {
        let specs: BTreeMap<u16, GroupSpec> =
            depythonize(groups).map_err(|error| PyValueError::new_err(format!("groups: {error}")))?;
        let groups = specs.into_iter().map(group).collect::<PyResult<_>>()?;
        self.with(|link| Ok(link.groups(groups)))
    }

    fn audit(&self) -> PyResult<u64> {
        self.with(|link| Ok(link.audit()))
    }

    fn dump(&self) -> PyResult<u64> {
        self.with(|link| Ok(link.dump()))
    }

    fn events(&self) -> PyResult<Vec<SwitchEvent>> {
        self.with(|link| Ok(link.take_events().into_iter().map(|event| SwitchEvent { event }).collect()))
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let link = held(&self.link).take();
        guarded(|| {
            py.detach(|| drop(link));
            Ok(())
        })
    }
}

/// See `_core.pyi`.
#[pyclass(frozen, module = "ostro._core")]
pub struct SwitchEvent {
    event: Event,
}

impl SwitchEvent {
    /// The flows of a dump; none of any other event.
    pub fn flows(&self) -> &[HeldFlow] {
        if let Event::Dumped { flows, .. } = &self.event { flows } else { &[] }
    }
}

#[pymethods]
impl SwitchEvent {
    #[getter]
    fn kind(&self) -> &'static str {
        match self.event {
            Event::Connected => "connected",
            Event::Disconnected(_) => "disconnected",
            Event::Synced { .. } => "synced",
            Event::Refilled { .. } => "refilled",
            Event::Audited { .. } => "audited",
            Event::Dumped { .. } => "dumped",
            Event::Away { .. } => "away",
            Event::Port(_) => "port",
        }
    }

    #[getter]
    fn ticket(&self) -> u64 {
        match self.event {
            Event::Synced { ticket, .. }
            | Event::Audited { ticket, .. }
            | Event::Dumped { ticket, .. }
            | Event::Away { ticket } => ticket,
            Event::Connected | Event::Disconnected(_) | Event::Refilled { .. } | Event::Port(_) => 0,
        }
    }

    #[getter]
    fn counts(&self) -> (u64, u64, u64) {
        match self.event {
            Event::Synced { sent, .. } | Event::Refilled { sent, .. } => (sent.added, sent.changed, sent.removed),
            _ => {
                let Counts { added, changed, removed } = Counts::default();
                (added, changed, removed)
            }
        }
    }

    #[getter]
    fn lines(&self) -> Vec<String> {
        match &self.event {
            Event::Synced { refused, .. } | Event::Refilled { refused, .. } => refused.clone(),
            Event::Audited { drift, .. } => drift.clone(),
            Event::Disconnected(why) => vec![why.clone()],
            Event::Port(port) => vec![port.name.clone()],
            Event::Connected | Event::Dumped { .. } | Event::Away { .. } => Vec::new(),
        }
    }

    #[getter]
    fn groups(&self) -> Vec<GroupInWords> {
        let Event::Dumped { groups, .. } = &self.event else { return Vec::new() };
        groups.iter().map(|(number, group)| (*number, group.kind().name(), group.in_words())).collect()
    }

    fn __repr__(&self) -> String {
        format!("<SwitchEvent {} ticket={} lines={:?}>", self.kind(), self.ticket(), self.lines())
    }
}

/// The names of this file in the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Switch>()?;
    module.add_class::<SwitchEvent>()
}
