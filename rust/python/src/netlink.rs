//! Binds the openflow crate's netlink: `Netlink`.
use std::net::IpAddr;
use std::sync::Mutex;

use ostro_flow::wish::Mac;
use ostro_openflow::netlink::{self as core, Fdb, Found, Link, LinkKind, Neighbour, NetlinkError, Report};
use pyo3::exceptions::{PyKeyError, PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pythonize::depythonize;
use serde::Deserialize;

use crate::error::guarded;
use crate::shared::held;

fn raised(error: NetlinkError) -> PyErr {
    match error {
        NetlinkError::NoDevice(_) => PyKeyError::new_err(error.to_string()),
        NetlinkError::Wrong(_) => PyValueError::new_err(error.to_string()),
        NetlinkError::CutOff => PyOSError::new_err(error.to_string()),
        NetlinkError::Socket(error) => error.into(),
    }
}

fn mac(text: &str) -> PyResult<Mac> {
    text.parse().map_err(PyValueError::new_err)
}

fn address(text: &str) -> PyResult<IpAddr> {
    text.parse().map_err(|_| PyValueError::new_err(format!("{text:?} is not an IP address")))
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum KindSpec {
    Bridge,
    Veth {
        peer: String,
    },
    Vxlan {
        vni: u32,
        #[serde(default)]
        local: Option<IpAddr>,
        port: u16,
        #[serde(default)]
        learning: bool,
    },
}

impl From<KindSpec> for LinkKind {
    fn from(spec: KindSpec) -> Self {
        match spec {
            KindSpec::Bridge => Self::Bridge,
            KindSpec::Veth { peer } => Self::Veth { peer },
            KindSpec::Vxlan { vni, local, port, learning } => Self::Vxlan { vni, local, port, learning },
        }
    }
}

const fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct LinkSpec {
    name: String,
    #[serde(flatten)]
    kind: KindSpec,
    #[serde(default)]
    mtu: Option<u32>,
    #[serde(default)]
    mac: Option<String>,
    #[serde(default)]
    master: Option<String>,
    #[serde(default = "yes")]
    up: bool,
}

fn link(spec: &Bound<'_, PyAny>) -> PyResult<Link> {
    let LinkSpec { name, kind, mtu, mac, master, up } =
        depythonize(spec).map_err(|error| PyValueError::new_err(format!("link: {error}")))?;
    Ok(Link { name, kind: kind.into(), mtu, mac: mac.as_deref().map(self::mac).transpose()?, master, up })
}

fn found<'py>(py: Python<'py>, found: &Found) -> PyResult<Bound<'py, PyDict>> {
    let result = PyDict::new(py);
    result.set_item("index", found.index)?;
    result.set_item("kind", &found.kind)?;
    result.set_item("mtu", found.mtu)?;
    result.set_item("mac", found.mac.map(|mac| mac.to_string()))?;
    result.set_item("master", found.master)?;
    result.set_item("up", found.up)?;
    if let Some(LinkKind::Veth { peer }) = &found.link {
        result.set_item("peer", peer)?;
    }
    if let Some(LinkKind::Vxlan { vni, local, port, learning }) = &found.link {
        result.set_item("vni", vni)?;
        result.set_item("local", local.map(|local| local.to_string()))?;
        result.set_item("port", port)?;
        result.set_item("learning", learning)?;
    }
    Ok(result)
}

type FdbInWords = (String, String, Option<u32>, Option<u16>);

fn entry((mac, remote, vni, port): FdbInWords) -> PyResult<Fdb> {
    Ok(Fdb { mac: self::mac(&mac)?, remote: address(&remote)?, vni, port })
}

/// See `_core.pyi`.
#[pyclass(frozen, module = "ostro._core")]
pub struct Netlink {
    netlink: Mutex<core::Netlink>,
}

impl Netlink {
    /// Talk to the kernel with the interpreter released.
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut core::Netlink) -> Result<T, NetlinkError> + Send,
    ) -> PyResult<T> {
        py.detach(|| guarded(|| Ok(work(&mut held(&self.netlink)))))?.map_err(raised)
    }
}

#[pymethods]
impl Netlink {
    #[new]
    fn new() -> PyResult<Self> {
        Ok(Self { netlink: Mutex::new(core::Netlink::open()?) })
    }

    fn links<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let result = PyDict::new(py);
        for (name, link) in self.with(py, core::Netlink::links)? {
            result.set_item(name, found(py, &link)?)?;
        }
        Ok(result)
    }

    fn sync_links(&self, py: Python<'_>, prefix: &str, links: Vec<Bound<'_, PyAny>>) -> PyResult<NetlinkReport> {
        let links = links.iter().map(link).collect::<PyResult<Vec<_>>>()?;
        Ok(NetlinkReport { report: self.with(py, |netlink| netlink.sync_links(prefix, &links))? })
    }

    fn fdb(&self, py: Python<'_>, device: &str) -> PyResult<Vec<FdbInWords>> {
        let words = |entry: Fdb| (entry.mac.to_string(), entry.remote.to_string(), entry.vni, entry.port);
        self.with(py, |netlink| Ok(netlink.fdb(device)?.into_iter().map(words).collect()))
    }

    fn sync_fdb(&self, py: Python<'_>, device: &str, entries: Vec<FdbInWords>) -> PyResult<NetlinkReport> {
        let entries = py.detach(|| entries.into_iter().map(entry).collect::<PyResult<Vec<_>>>())?;
        Ok(NetlinkReport { report: self.with(py, |netlink| netlink.sync_fdb(device, &entries))? })
    }

    fn neighbours(&self, py: Python<'_>, device: &str) -> PyResult<Vec<(String, String)>> {
        let words = |neighbour: Neighbour| (neighbour.ip.to_string(), neighbour.mac.to_string());
        self.with(py, |netlink| Ok(netlink.neighbours(device)?.into_iter().map(words).collect()))
    }

    fn sync_neighbours(&self, py: Python<'_>, device: &str, entries: Vec<(String, String)>) -> PyResult<NetlinkReport> {
        let neighbour = |(ip, mac): (String, String)| Ok(Neighbour { ip: address(&ip)?, mac: self::mac(&mac)? });
        let entries = py.detach(|| entries.into_iter().map(neighbour).collect::<PyResult<Vec<_>>>())?;
        Ok(NetlinkReport { report: self.with(py, |netlink| netlink.sync_neighbours(device, &entries))? })
    }
}

/// See `_core.pyi`.
#[pyclass(frozen, module = "ostro._core")]
pub struct NetlinkReport {
    report: Report,
}

#[pymethods]
impl NetlinkReport {
    #[getter]
    fn counts(&self) -> (usize, usize, usize) {
        (self.report.added, self.report.changed, self.report.removed)
    }

    #[getter]
    fn refused(&self) -> Vec<(&str, &str, i32)> {
        let refused = self.report.refused.iter();
        refused.map(|refusal| (refusal.what.as_str(), refusal.why.as_str(), refusal.errno)).collect()
    }

    fn __repr__(&self) -> String {
        let Report { added, changed, removed, refused } = &self.report;
        format!("<NetlinkReport added={added} changed={changed} removed={removed} refused={}>", refused.len())
    }
}

/// The names of this file in the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Netlink>()?;
    module.add_class::<NetlinkReport>()
}
