//! The host table: who is there, what they have, what is used.
use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::block::{Block, Host, LANES, with_bit};
use crate::error::PlacementError;
use crate::sharing::{SHARES, Shared};
use crate::solve::Scene;
use crate::spec::{HostSpec, bounded};
use crate::symbols::{ClassId, Symbols, TagKind};
use crate::tree::{Extra, stocks, tags};
use crate::views::Views;

/// More of a metric counts as this: times any weight it is still a number.
const METRIC_MAX: f64 = 1e20;

/// Members of a server group by the slot of their host.
pub(crate) type Members = FxHashMap<u32, u32>;

/// Every host this process knows. See the crate's documentation.
#[derive(Debug, Default)]
pub struct HostTable {
    pub(crate) symbols: Symbols,
    pub(crate) blocks: Vec<Arc<Block>>,
    slots: Arc<FxHashMap<Arc<str>, u32>>,
    free_slots: Vec<u32>,
    /// Nested providers' hosts.
    nested: Arc<FxHashMap<Arc<str>, u32>>,
    pub(crate) groups: FxHashMap<Arc<str>, Arc<Members>>,
    pub(crate) sharing: Vec<Shared>,
    /// Hosts that are more than one provider.
    trees: usize,
    pub(crate) views: Views,
}

impl HostTable {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Hosts in the table.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// No hosts.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Hosts that are more than one provider: those that a decision may have to look at exactly.
    pub fn trees(&self) -> usize {
        self.trees
    }

    /// How many hosts have members of a server group.
    pub fn hosts_of_group(&self, group: &str) -> usize {
        self.groups.get(group).map_or(0, |members| members.len())
    }

    /// The host is in the table.
    pub fn contains(&self, id: &str) -> bool {
        self.slots.contains_key(id)
    }

    /// An independent table that holds the same, for asking "what if": blocks are shared until one side changes them.
    pub fn snapshot(&self) -> Self {
        Self {
            symbols: self.symbols.clone(),
            blocks: self.blocks.clone(),
            slots: self.slots.clone(),
            free_slots: self.free_slots.clone(),
            nested: self.nested.clone(),
            groups: self.groups.clone(),
            sharing: self.sharing.clone(),
            trees: self.trees,
            views: Views::default(),
        }
    }

    pub(crate) fn slot(&self, id: &str) -> Result<u32, PlacementError> {
        self.find(id).ok_or_else(|| PlacementError::no_host(id))
    }

    pub(crate) fn find(&self, id: &str) -> Option<u32> {
        self.slots.get(id).copied()
    }

    /// The slot of the tree that a provider, root or nested, is in.
    pub(crate) fn tree_of(&self, provider: &str) -> Option<u32> {
        self.find(provider).or_else(|| self.nested.get(provider).copied())
    }

    pub(crate) fn host(&self, slot: u32) -> Option<&Host> {
        self.blocks[slot as usize / LANES].hosts[slot as usize % LANES].as_ref()
    }

    /// The id of the host in a slot that has one.
    pub(crate) fn id(&self, slot: u32) -> Arc<str> {
        self.host(slot).map_or_else(|| "".into(), |host| host.id.clone())
    }

    pub(crate) fn scene<'a>(&'a self, shape: &'a crate::shape::Shape) -> Scene<'a> {
        Scene { shape, blocks: &self.blocks, sharing: &self.sharing }
    }

    /// Add a host or change what it has. What is used on it stays used.
    ///
    /// # Errors
    /// [`PlacementError::Wrong`] if the tree makes no sense or an id in it belongs to another host.
    pub fn set_host(&mut self, id: &str, spec: &HostSpec) -> Result<(), PlacementError> {
        self.check_ids(id, spec)?;
        let known = self.find(id);
        let name: Arc<str> = known.map_or_else(|| id.into(), |slot| self.id(slot));
        let before = known.and_then(|slot| self.host(slot)).and_then(|host| host.extra.clone());
        let shares = spec.traits.iter().any(|name| name == SHARES);
        let is_tree = shares || !spec.providers.is_empty() || !spec.numa.is_empty();
        let mut extra =
            if is_tree { Some(Extra::read(&name, spec, &mut self.symbols, before.as_deref())?) } else { None };
        let slot = known.unwrap_or_else(|| self.new_slot(&name));
        let root_used = self.root_used(slot);
        self.forget_tree(slot);
        if let Some(extra) = &mut extra {
            for (class, used) in &root_used {
                *extra.used_mut(0, *class) = *used;
            }
        }
        self.write_host(slot, name, spec, extra.map(Arc::new), &root_used);
        self.views.change(slot, true);
        Ok(())
    }

    /// Ids of nested providers are nobody else's.
    fn check_ids(&self, id: &str, spec: &HostSpec) -> Result<(), PlacementError> {
        let own = self.find(id);
        if self.nested.contains_key(id) {
            return Err(PlacementError::wrong(format!("{id:?} is a nested provider's id")));
        }
        for provider in &spec.providers {
            if self.tree_of(&provider.id).is_some_and(|slot| Some(slot) != own) || provider.id == id {
                return Err(PlacementError::wrong(format!("provider {:?} belongs to another host", provider.id)));
            }
        }
        Ok(())
    }

    fn new_slot(&mut self, id: &Arc<str>) -> u32 {
        let slot = self.free_slots.pop().unwrap_or_else(|| {
            let slot = self.blocks.len() * LANES;
            self.blocks.push(Arc::new(Block::new()));
            self.free_slots.extend((slot as u32 + 1..slot as u32 + LANES as u32).rev());
            slot as u32
        });
        Arc::make_mut(&mut self.slots).insert(id.clone(), slot);
        slot
    }

    /// What is used of the root provider.
    fn root_used(&self, slot: u32) -> Vec<(ClassId, i64)> {
        let (block, lane) = (&self.blocks[slot as usize / LANES], slot as usize % LANES);
        if let Some(extra) = self.host(slot).and_then(|host| host.extra.as_ref()) {
            let stocks = extra.providers[0].stocks.iter().filter(|stock| stock.used != 0);
            return stocks.map(|stock| (stock.class, stock.used)).collect();
        }
        let classes = block.cold.iter().enumerate();
        classes.map(|(class, cold)| (ClassId(class as u32), cold.used[lane])).filter(|(_, used)| *used != 0).collect()
    }

    /// Strike a host's nested and shared providers from the lists.
    fn forget_tree(&mut self, slot: u32) {
        let Some(extra) = self.host(slot).and_then(|host| host.extra.as_ref()) else { return };
        let ids: Vec<Arc<str>> = extra.providers[1..].iter().map(|provider| provider.id.clone()).collect();
        if !ids.is_empty() {
            let nested = Arc::make_mut(&mut self.nested);
            for id in &ids {
                nested.remove(id);
            }
        }
        self.sharing.retain(|shared| shared.slot != slot);
        self.trees -= 1;
    }

    fn write_host(
        &mut self,
        slot: u32,
        id: Arc<str>,
        spec: &HostSpec,
        extra: Option<Arc<Extra>>,
        root_used: &[(ClassId, i64)],
    ) {
        let lane = slot as usize % LANES;
        let block = Arc::make_mut(&mut self.blocks[slot as usize / LANES]);
        block.clear(lane);
        block.hashes[lane] = hash(&id);
        block.enabled = with_bit(block.enabled, lane, spec.enabled);
        block.maintenance = with_bit(block.maintenance, lane, spec.maintenance);
        if let Some(zone) = &spec.az {
            block.add_tag(lane, self.symbols.add_tag(TagKind::Zone, zone));
        }
        for (metric, value) in &spec.metrics {
            let value = if value.is_nan() { 0.0 } else { value.clamp(-METRIC_MAX, METRIC_MAX) };
            block.set_metric(self.symbols.add_metric(metric), lane, value as f32);
        }
        match &extra {
            Some(extra) => write_tree(block, lane, extra),
            None => write_root(block, lane, spec, &mut self.symbols, root_used),
        }
        if let Some(extra) = &extra {
            self.trees += 1;
            self.list_tree(slot, extra);
        }
        let block = Arc::make_mut(&mut self.blocks[slot as usize / LANES]);
        block.hosts[lane] = Some(Host { id, extra });
    }

    fn list_tree(&mut self, slot: u32, extra: &Extra) {
        if extra.providers.len() > 1 {
            let nested = Arc::make_mut(&mut self.nested);
            nested.extend(extra.providers[1..].iter().map(|provider| (provider.id.clone(), slot)));
        }
        let shares = self.symbols.tag(TagKind::Trait, SHARES);
        let sharing = extra.providers.iter().enumerate().filter(|(_, provider)| provider.traits.contains(&shares));
        let sharing = sharing.map(|(place, provider)| Shared { id: provider.id.clone(), slot, place: place as u16 });
        self.sharing.extend(sharing);
        self.sharing.sort_by(|a, b| a.id.cmp(&b.id));
    }

    /// Forget a host, what is used on it, and its members of server groups. Says whether it was there.
    pub fn remove_host(&mut self, id: &str) -> bool {
        let Some(slot) = self.find(id) else { return false };
        self.forget_tree(slot);
        let block = Arc::make_mut(&mut self.blocks[slot as usize / LANES]);
        block.clear(slot as usize % LANES);
        Arc::make_mut(&mut self.slots).remove(id);
        for members in self.groups.values_mut().filter(|members| members.contains_key(&slot)) {
            Arc::make_mut(members).remove(&slot);
        }
        self.groups.retain(|_, members| !members.is_empty());
        self.free_slots.push(slot);
        self.views.change(slot, true);
        true
    }

    /// Say what is used of some classes of a provider: the root, or the nested one named.
    ///
    /// # Errors
    /// [`PlacementError::NotFound`].
    pub fn set_used(&mut self, id: &str, provider: Option<&str>, used: &[(&str, i64)]) -> Result<(), PlacementError> {
        self.change_used(id, provider, used, |_, amount| amount)
    }

    /// Add to, or take from, what is used of some classes of a provider.
    ///
    /// # Errors
    /// [`PlacementError::NotFound`].
    pub fn add_used(&mut self, id: &str, provider: Option<&str>, delta: &[(&str, i64)]) -> Result<(), PlacementError> {
        self.change_used(id, provider, delta, |used, amount| used.saturating_add(amount))
    }

    fn change_used(
        &mut self,
        id: &str,
        provider: Option<&str>,
        amounts: &[(&str, i64)],
        change: impl Fn(i64, i64) -> i64,
    ) -> Result<(), PlacementError> {
        let slot = self.slot(id)?;
        let place = match provider {
            None => 0,
            Some(provider) if provider == id => 0,
            Some(provider) => {
                let extra = self.host(slot).and_then(|host| host.extra.as_ref());
                let place = extra.and_then(|extra| extra.place(provider));
                place.ok_or_else(|| PlacementError::no_provider(provider))?
            }
        };
        for (class, amount) in amounts {
            let class = self.symbols.add_class(class);
            self.change_class(slot, place, class, |used| change(used, *amount));
        }
        self.views.change(slot, false);
        Ok(())
    }

    /// Change what is used of one class of one provider. The caller tells the views.
    pub(crate) fn change_class(&mut self, slot: u32, place: usize, class: ClassId, change: impl FnOnce(i64) -> i64) {
        let lane = slot as usize % LANES;
        let block = Arc::make_mut(&mut self.blocks[slot as usize / LANES]);
        let extra = block.hosts[lane].as_mut().and_then(|host| host.extra.as_mut());
        if let Some(extra) = extra {
            let extra = Arc::make_mut(extra);
            let used = extra.used_mut(place, class);
            *used = bounded(change(*used));
            let sum = extra.sum(class);
            block.settle_sum(class, lane, sum);
            return;
        }
        block.make_class(class);
        let used = &mut block.cold[class.0 as usize].used[lane];
        *used = bounded(change(*used));
        block.settle(class, lane);
    }

    /// Say how many members of a server group are on each host; hosts not named have none.
    ///
    /// # Errors
    /// [`PlacementError::NotFound`]; then nothing changed.
    pub fn set_group(&mut self, group: &str, members: &BTreeMap<String, u32>) -> Result<(), PlacementError> {
        let slots = members.iter().map(|(host, count)| Ok((self.slot(host)?, *count)));
        let slots = slots.collect::<Result<Vec<(u32, u32)>, PlacementError>>()?;
        let members: Members = slots.into_iter().filter(|(_, count)| *count > 0).collect();
        if members.is_empty() {
            self.groups.remove(group);
        } else {
            self.groups.insert(group.into(), Arc::new(members));
        }
        Ok(())
    }

    /// Add members of a server group on a host, or take them away. A group without members is forgotten.
    ///
    /// # Errors
    /// [`PlacementError::NotFound`].
    pub fn add_member(&mut self, group: &str, host: &str, delta: i32) -> Result<(), PlacementError> {
        let slot = self.slot(host)?;
        self.add_member_at(group, slot, delta);
        Ok(())
    }

    pub(crate) fn add_member_at(&mut self, group: &str, slot: u32, delta: i32) {
        if !self.groups.contains_key(group) {
            self.groups.insert(group.into(), Arc::default());
        }
        let Some(members) = self.groups.get_mut(group) else { return };
        let members = Arc::make_mut(members);
        let count = members.entry(slot).or_default();
        *count = count.saturating_add_signed(delta);
        if *count == 0 {
            members.remove(&slot);
        }
        if members.is_empty() {
            self.groups.remove(group);
        }
    }

    pub(crate) fn provider_id(&self, slot: u32, place: u16) -> Arc<str> {
        let extra = self.host(slot).and_then(|host| host.extra.as_ref());
        extra.map_or_else(|| self.id(slot), |extra| extra.providers[usize::from(place)].id.clone())
    }

    /// Bytes that the table holds, for the budget of a kilobyte a host.
    pub fn bytes(&self) -> usize {
        let block = |block: &Arc<Block>| {
            let own = size_of::<Block>()
                + block.rough.capacity() * size_of::<crate::block::Rough>()
                + block.hot.capacity() * size_of::<crate::block::Hot>()
                + block.cold.capacity() * size_of::<crate::block::Cold>()
                + block.metrics.capacity() * size_of::<[f32; LANES]>()
                + block.tag_bytes();
            let hosts = block.hosts.iter().flatten();
            own + hosts
                .map(|host| host.id.len() + 16 + host.extra.as_ref().map_or(0, |extra| extra.bytes()))
                .sum::<usize>()
        };
        let index = self.slots.capacity() * (size_of::<(Arc<str>, u32)>() + 1);
        self.blocks.iter().map(block).sum::<usize>() + index + self.views.bytes()
    }
}

fn write_tree(block: &mut Block, lane: usize, extra: &Extra) {
    block.nested = with_bit(block.nested, lane, true);
    block.celled = with_bit(block.celled, lane, !extra.cells.is_empty());
    for tag in extra.providers.iter().flat_map(|provider| provider.traits.iter().chain(&provider.aggregates)) {
        block.add_tag(lane, *tag);
    }
    for class in extra.classes() {
        block.settle_sum(class, lane, extra.sum(class));
    }
}

fn write_root(block: &mut Block, lane: usize, spec: &HostSpec, symbols: &mut Symbols, root_used: &[(ClassId, i64)]) {
    let both = [(&spec.traits, TagKind::Trait), (&spec.aggregates, TagKind::Aggregate)];
    for tag in both.into_iter().flat_map(|(names, kind)| tags(names, kind, symbols)) {
        block.add_tag(lane, tag);
    }
    for (class, used) in root_used {
        block.make_class(*class);
        block.cold[class.0 as usize].used[lane] = *used;
    }
    for stock in stocks(&spec.inventories, symbols) {
        block.make_class(stock.class);
        let cold = &mut block.cold[stock.class.0 as usize];
        let unit = |value: i64| value.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
        cold.capacity[lane] = stock.capacity;
        (cold.min[lane], cold.max[lane], cold.step[lane]) = (unit(stock.min), unit(stock.max), unit(stock.step));
        cold.present = with_bit(cold.present, lane, true);
        let stepped = stock.min > 1 || stock.step > 1;
        cold.stepped = with_bit(cold.stepped, lane, stepped);
        block.stepped |= u64::from(stepped) << lane;
        block.settle(stock.class, lane);
    }
}

/// A number for a host id that is the same everywhere and always.
fn hash(id: &str) -> u32 {
    let folded = id
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    (folded ^ folded >> 32) as u32
}
