//! The engine against the naive reference, over random tables, requests and changes.

#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

mod naive;

use std::collections::{BTreeMap, BTreeSet};

use naive::{ANYWHERE, Naive, flat};
use ostro_placement::{
    AffinityPolicy, Claim, Explain, Group, GroupPolicy, HostSpec, HostTable, Inventory, Mode, Order, ProviderSpec,
    Request, ServerGroup,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

const CLASSES: [&str; 3] = ["VCPU", "MEMORY_MB", "DISK_GB"];
const TRAITS: [&str; 4] = ["T0", "T1", "T2", "MISC_SHARES_VIA_AGGREGATE"];
const AGGREGATES: [&str; 3] = ["A0", "A1", "A2"];
/// More than one block of 64.
const HOSTS: usize = 70;
const REQUESTS: usize = 3;

fn host_id(number: usize) -> String {
    format!("host-{number}")
}

fn strings(names: Vec<&'static str>) -> Vec<String> {
    names.into_iter().map(str::to_owned).collect()
}

fn inventory() -> impl Strategy<Value = Inventory> {
    let units = prop_oneof![6 => Just((1, 1)), 1 => Just((2, 1)), 1 => Just((1, 2)), 1 => Just((2, 2))];
    (0..12_i64, 0..3_i64, units, prop_oneof![4 => Just(1000), 1 => 1..6_i64], select(vec![1.0, 1.5, 4.0])).prop_map(
        |(total, reserved, (min_unit, step_size), max_unit, allocation_ratio)| Inventory {
            total,
            reserved,
            min_unit,
            max_unit,
            step_size,
            allocation_ratio,
        },
    )
}

fn inventories(classes: usize) -> impl Strategy<Value = BTreeMap<String, Inventory>> {
    btree_map(select(&CLASSES[..]).prop_map(str::to_owned), inventory(), 0..=classes)
}

fn traits() -> impl Strategy<Value = Vec<String>> {
    // Shared providers are rarer than other traits.
    (subsequence(TRAITS[..3].to_vec(), 0..=3), prop::bool::weighted(0.08)).prop_map(|(mut names, shares)| {
        names.extend(shares.then_some(TRAITS[3]));
        strings(names)
    })
}

fn aggregates() -> impl Strategy<Value = Vec<String>> {
    subsequence(AGGREGATES.to_vec(), 0..=2).prop_map(strings)
}

fn providers(number: usize) -> impl Strategy<Value = Vec<ProviderSpec>> {
    let one = (inventories(2), traits(), aggregates(), any::<bool>());
    prop_oneof![3 => Just(Vec::new()).boxed(), 1 => vec(one, 1..=3).boxed()].prop_map(move |nested| {
        let id = |at: usize| format!("{}/{at}", host_id(number));
        let spec = |(at, (inventories, traits, aggregates, deep))| ProviderSpec {
            id: id(at),
            parent: (deep && at > 0).then(|| id(at - 1)),
            inventories,
            traits,
            aggregates,
            numa_cell: None,
        };
        nested.into_iter().enumerate().map(spec).collect()
    })
}

fn host(number: usize) -> impl Strategy<Value = HostSpec> {
    let flags = (prop::bool::weighted(0.9), prop::bool::weighted(0.1), prop::option::of(select(vec!["z0", "z1"])));
    (inventories(3), traits(), aggregates(), flags, providers(number), 0..4_u32).prop_map(
        |(inventories, traits, aggregates, (enabled, maintenance, az), providers, io)| HostSpec {
            inventories,
            traits,
            aggregates,
            az: az.map(str::to_owned),
            enabled,
            maintenance,
            metrics: BTreeMap::from([("io_ops".to_owned(), f64::from(io))]),
            providers,
            numa: Vec::new(),
        },
    )
}

fn expressions(names: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    let name = || select(names);
    let one = prop_oneof![
        3 => name().prop_map(str::to_owned),
        2 => name().prop_map(|name| format!("!{name}")),
        1 => (name(), name()).prop_map(|(a, b)| format!("in:{a},{b}")),
    ];
    prop_oneof![2 => Just(Vec::new()).boxed(), 1 => vec(one, 1..=2).boxed()]
}

fn resources() -> impl Strategy<Value = BTreeMap<String, i64>> {
    btree_map(select(&CLASSES[..]).prop_map(str::to_owned), 1..5_i64, 1..=3)
}

fn in_tree() -> impl Strategy<Value = Option<String>> {
    prop::option::weighted(
        0.1,
        (0..HOSTS, prop::option::of(0..2_usize)).prop_map(|(number, nested)| match nested {
            None => host_id(number),
            Some(at) => format!("{}/{at}", host_id(number)),
        }),
    )
}

fn group() -> impl Strategy<Value = Group> {
    (resources(), expressions(&TRAITS[..3]), expressions(&AGGREGATES), in_tree()).prop_map(
        |(mut resources, required, member_of, in_tree)| {
            while resources.len() > 1 {
                resources.pop_last();
            }
            Group { resources, required, member_of, in_tree, numa_policy: ANYWHERE }
        },
    )
}

fn server_group() -> impl Strategy<Value = Option<ServerGroup>> {
    let policy = select(vec![
        AffinityPolicy::Affinity,
        AffinityPolicy::AntiAffinity,
        AffinityPolicy::SoftAffinity,
        AffinityPolicy::SoftAntiAffinity,
    ]);
    let group = (select(vec!["g0", "g1"]), policy, 1..3_u32);
    prop::option::weighted(
        0.3,
        group.prop_map(|(id, policy, max_per_host)| ServerGroup { id: id.to_owned(), policy, max_per_host }),
    )
}

fn weights() -> impl Strategy<Value = Option<BTreeMap<String, f64>>> {
    let names = vec![
        "VCPU",
        "MEMORY_MB",
        "maintenance",
        "devices",
        "soft_affinity",
        "soft_anti_affinity",
        "trait:T0",
        "metric:io_ops",
    ];
    let one = (select(names).prop_map(str::to_owned), select(vec![-1.0, 0.5, 2.0]));
    prop::option::weighted(0.4, btree_map(one.clone().prop_map(|(name, _)| name), one.prop_map(|(_, w)| w), 0..5))
}

fn request() -> impl Strategy<Value = Request> {
    let groups = prop_oneof![2 => Just(Vec::new()).boxed(), 1 => vec(group(), 1..=2).boxed()];
    let wide = (any::<bool>(), any::<bool>(), prop::option::weighted(0.2, select(vec!["z0", "z1", "z9"])));
    let hosts = || vec((0..HOSTS).prop_map(host_id), 0..40);
    let ruled =
        (prop::option::weighted(0.1, hosts()), prop_oneof![3 => Just(Vec::new()).boxed(), 1 => hosts().boxed()]);
    let rest = (server_group(), weights(), prop::option::weighted(0.2, 0..4_u32), expressions(&TRAITS[..3]));
    (resources(), expressions(&TRAITS[..3]), expressions(&AGGREGATES), in_tree(), groups, wide, ruled, rest).prop_map(
        |(resources, required, member_of, in_tree, groups, (isolate, together, az), (only_hosts, not_hosts), rest)| {
            let names = ["_a", "_b"].map(str::to_owned);
            let groups: BTreeMap<String, Group> = names.iter().cloned().zip(groups).collect();
            let (server_group, weights, io, root) = rest;
            let plain = |text: &String| !text.starts_with("in:");
            Request {
                resources,
                required,
                member_of,
                in_tree,
                same_subtree: if together && groups.len() == 2 { vec![names.to_vec()] } else { Vec::new() },
                groups,
                group_policy: if isolate { GroupPolicy::Isolate } else { GroupPolicy::None },
                root_required: root.into_iter().filter(plain).take(1).collect(),
                az: az.map(str::to_owned),
                only_hosts,
                not_hosts,
                server_group,
                numa: None,
                limits: io.map(|io| ("io_ops".to_owned(), f64::from(io))).into_iter().collect(),
                weights,
            }
        },
    )
}

/// Something that happens to a table.
#[derive(Debug, Clone)]
enum Event {
    Set(usize, Box<HostSpec>),
    Remove(usize),
    Use(usize, &'static str, i64),
    /// Requests are few and asked again and again, so that views live through changes.
    Place(usize, u64, usize),
    /// Place one and claim it.
    Claim(usize, u64),
    Release(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => (0..HOSTS).prop_flat_map(|number| host(number).prop_map(move |spec| Event::Set(number, Box::new(spec)))),
        1 => (0..HOSTS).prop_map(Event::Remove),
        2 => (0..HOSTS, select(&CLASSES[..]), 0..6_i64).prop_map(|(host, class, used)| Event::Use(host, class, used)),
        4 => (0..REQUESTS, 0..2_u64, 1..8_usize).prop_map(|(request, seed, limit)| Event::Place(request, seed, limit)),
        4 => (0..REQUESTS, 0..2_u64).prop_map(|(request, seed)| Event::Claim(request, seed)),
        1 => (0..20_usize).prop_map(Event::Release),
    ]
}

/// A table, the reference, and the claims that were made.
#[derive(Default)]
struct World {
    requests: Vec<Request>,
    table: HostTable,
    naive: Naive,
    claims: Vec<Claim>,
}

impl World {
    fn new(hosts: Vec<HostSpec>, requests: Vec<Request>) -> Self {
        let mut world = Self { requests, ..Self::default() };
        for (number, spec) in hosts.into_iter().enumerate() {
            world.happen(&Event::Set(number, Box::new(spec)));
        }
        world
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Set(number, spec) => {
                let id = host_id(*number);
                self.table.set_host(&id, spec).unwrap();
                self.naive.set(&id, (**spec).clone());
            }
            Event::Remove(number) => {
                let id = host_id(*number);
                assert_eq!(self.table.remove_host(&id), self.naive.hosts.contains_key(&id));
                self.naive.remove(&id);
                self.claims.retain(|claim| {
                    let ours = |provider: &str| provider == id || provider.starts_with(&format!("{id}/"));
                    claim.host != id && !claim.allocations.keys().any(|provider| ours(provider))
                });
            }
            Event::Use(number, class, used) => {
                let id = host_id(*number);
                let done = self.table.set_used(&id, None, &[(class, *used)]);
                assert_eq!(done.is_ok(), self.naive.hosts.contains_key(&id));
                if done.is_ok() {
                    self.naive.used.insert((id, (*class).to_owned()), *used);
                }
            }
            Event::Place(request, seed, limit) => self.place(&self.requests[*request].clone(), *seed, *limit),
            Event::Claim(request, seed) => self.claim(&self.requests[*request].clone(), *seed),
            Event::Release(at) if *at < self.claims.len() => {
                let claim = self.claims.remove(*at);
                if self.table.release(&claim).is_ok() {
                    self.naive.claim(&claim, -1);
                }
            }
            Event::Release(_) => {}
        }
    }

    fn place(&mut self, request: &Request, seed: u64, limit: usize) {
        let doing: BTreeSet<&String> = self.naive.hosts.keys().filter(|id| self.naive.does(id, request)).collect();
        let decision = self.table.place(request, seed, limit, Explain::Always).unwrap();
        let hosts: Vec<String> = decision.hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts.len(), limit.min(doing.len()), "{request:?} of {doing:?}");
        assert!(hosts.iter().all(|host| doing.contains(host)), "{hosts:?} of {doing:?}");
        let scores: Vec<f32> = hosts.iter().map(|host| self.naive.score(host, request)).collect();
        assert!(scores.windows(2).all(|pair| pair[0] >= pair[1]), "{scores:?}");
        let worst = scores.last().copied().unwrap_or(f32::INFINITY);
        for other in doing.iter().filter(|other| !hosts.contains(other)) {
            assert!(self.naive.score(other, request) <= worst, "{other} is better than {hosts:?}");
        }
        let rejected: usize = decision.rejected.iter().map(|rejection| rejection.hosts).sum();
        assert_eq!(rejected + doing.len(), self.naive.hosts.len(), "{:?}", decision.rejected);
        for (at, host) in hosts.iter().enumerate() {
            let claim = decision.claim(at).unwrap();
            let takes = flat(&claim);
            assert!(self.naive.fits(host, request).contains(&takes), "{takes:?}");
        }
        self.same_again(request, seed, limit, &hosts);
    }

    /// A table that never saw anything else answers the same, hosts added in another order.
    fn same_again(&self, request: &Request, seed: u64, limit: usize, hosts: &[String]) {
        let mut fresh = HostTable::new();
        for (id, spec) in self.naive.hosts.iter().rev() {
            fresh.set_host(id, spec).unwrap();
        }
        for ((provider, class), used) in &self.naive.used {
            let id = provider.split('/').next().unwrap();
            fresh.set_used(id, Some(provider), &[(class, *used)]).unwrap();
        }
        for (group, members) in &self.naive.groups {
            fresh.set_group(group, members).unwrap();
        }
        let again = fresh.place(request, seed, limit, Explain::Never).unwrap();
        let again: Vec<String> = again.hosts.iter().map(ToString::to_string).collect();
        assert_eq!(again, hosts);
    }

    fn claim(&mut self, request: &Request, seed: u64) {
        let decision = self.table.place(request, seed, 1, Explain::Never).unwrap();
        let Some(claim) = decision.claim(0) else { return };
        self.table.claim(&claim).unwrap();
        self.naive.claim(&claim, 1);
        self.claims.push(claim);
    }
}

fn hosts() -> impl Strategy<Value = Vec<HostSpec>> {
    (0..=HOSTS).prop_flat_map(|count| (0..count).map(host).collect::<Vec<_>>())
}

fn unshared(mut host: HostSpec) -> HostSpec {
    let keep = |name: &String| name != TRAITS[3];
    host.traits.retain(keep);
    host.providers.iter_mut().for_each(|provider| provider.traits.retain(keep));
    host
}

fn requests() -> impl Strategy<Value = Vec<Request>> {
    vec(request(), REQUESTS)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn every_decision_is_the_reference_s(hosts in hosts(), requests in requests(), events in vec(event(), 1..40)) {
        let mut world = World::new(hosts, requests);
        for event in &events {
            world.happen(event);
        }
    }

    #[test]
    fn nothing_is_overcommitted_however_claims_interleave(
        hosts in hosts(), requests in requests(), events in vec((0..REQUESTS, 0..4_u64, any::<bool>()), 1..80),
    ) {
        let mut world = World::new(hosts, requests);
        let mut waiting: Vec<Claim> = Vec::new();
        for (at, seed, late) in events {
            let request = world.requests[at].clone();
            let decision = world.table.place(&request, seed, 1, Explain::Never).unwrap();
            waiting.extend(decision.claim(0));
            // A claim made late meets a table that has moved on: it holds or it is refused, never more.
            if late {
                continue;
            }
            for claim in waiting.drain(..) {
                if world.table.claim(&claim).is_ok() {
                    world.naive.claim(&claim, 1);
                }
            }
            prop_assert_eq!(world.naive.overcommitted(), None);
        }
    }

    #[test]
    fn many_at_once_are_one_after_another(
        hosts in hosts(), requests in requests(), counts in vec(0..9_usize, REQUESTS), all in any::<bool>(), seed in 0..3_u64,
    ) {
        let mut world = World::new(hosts, requests);
        let orders: Vec<Order> =
            world.requests.iter().zip(&counts).map(|(request, count)| Order { request, count: *count }).collect();
        let mode = if all { Mode::AllOrNothing } else { Mode::BestEffort };
        let batch = world.table.place_many(&orders, seed, mode, false).unwrap();
        let mut copy = world.table.snapshot();
        let mut expected = Vec::new();
        for order in &orders {
            let mut hosts = Vec::new();
            for _ in 0..order.count {
                let decision = copy.place(order.request, seed, 1, Explain::Never).unwrap();
                let Some(claim) = decision.claim(0) else { break };
                copy.claim(&claim).unwrap();
                hosts.push(claim.host);
            }
            expected.push(hosts);
        }
        let complete = expected.iter().zip(&orders).all(|(hosts, order)| hosts.len() == order.count);
        prop_assert_eq!(batch.complete, complete);
        if all && !complete {
            expected.iter_mut().for_each(Vec::clear);
        }
        let found: Vec<Vec<String>> =
            batch.orders.iter().map(|order| order.hosts.iter().map(ToString::to_string).collect()).collect();
        prop_assert_eq!(found, expected);
        // Nothing stays taken.
        let requests = world.requests.clone();
        requests.iter().for_each(|request| world.place(request, seed, 5));
    }

    #[test]
    fn as_many_fit_as_can_be_placed(hosts in hosts(), request in request()) {
        // Greedy filling is exact where no two hosts take from one shared provider.
        let world = World::new(hosts.into_iter().map(unshared).collect(), Vec::new());
        let limit = 300;
        let order = Order { request: &request, count: limit };
        let mut copy = world.table.snapshot();
        let placed = copy.place_many(&[order], 0, Mode::BestEffort, true).unwrap();
        let placed_count = placed.orders[0].hosts.len();
        let counted = world.table.how_many(&request, limit).unwrap();
        let alone = request.server_group.as_ref().is_some_and(|group| group.policy == AffinityPolicy::Affinity);
        if alone {
            prop_assert!(counted >= placed_count);
        } else {
            prop_assert_eq!(counted, placed_count);
        }
    }

    #[test]
    fn a_snapshot_and_its_table_don_t_meet(hosts in hosts(), requests in requests(), events in vec(event(), 1..20)) {
        let mut world = World::new(hosts, requests);
        let mut aside = World {
            table: world.table.snapshot(),
            naive: world.naive.clone(),
            requests: world.requests.clone(),
            claims: Vec::new(),
        };
        for (at, event) in events.iter().enumerate() {
            if at % 2 == 0 { world.happen(event) } else { aside.happen(event) }
        }
        let requests = world.requests.clone();
        for request in &requests {
            world.place(request, 0, 5);
            aside.place(request, 0, 5);
        }
    }
}

/// A host like another, with ids of its own.
fn like(template: &HostSpec, number: usize) -> HostSpec {
    let mut host = template.clone();
    let renamed = |id: &str| format!("{}/{}", host_id(number), id.rsplit('/').next().unwrap());
    for provider in &mut host.providers {
        provider.id = renamed(&provider.id);
        provider.parent = provider.parent.as_deref().map(renamed);
    }
    host
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// A decision looks into those blocks only that may hold the best hosts. Asked for all hosts it must look into all blocks.
    #[test]
    fn a_few_of_many_hosts_are_the_first_of_all(
        templates in vec(host(0), 1..8),
        requests in requests(),
        used in vec((0..1000_usize, select(&CLASSES[..]), -2..14_i64), 0..400),
        events in vec((0..1000_usize, select(&CLASSES[..]), 0..14_i64, any::<bool>(), 1..20_usize), 1..30),
    ) {
        const MANY: usize = 1000;
        let mut table = HostTable::new();
        for number in 0..MANY {
            table.set_host(&host_id(number), &like(&templates[number % templates.len()], number)).unwrap();
        }
        for (number, class, used) in used {
            table.set_used(&host_id(number), None, &[(class, used)]).unwrap();
        }
        for (at, (number, class, used, place, limit)) in events.into_iter().enumerate() {
            let limit = if place { 1 } else { limit };
            table.set_used(&host_id(number), None, &[(class, used)]).unwrap();
            if used == 0 {
                table.set_enabled(&host_id(number), place).unwrap();
            }
            for request in &requests {
                let few = table.place(request, at as u64 / 2, limit, Explain::Never).unwrap().hosts;
                let all = table.snapshot().place(request, at as u64 / 2, 2 * MANY, Explain::Never).unwrap().hosts;
                prop_assert_eq!(&few[..], &all[..limit.min(all.len())]);
            }
        }
    }
}
