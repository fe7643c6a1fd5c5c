//! Providers that other hosts may take from because they share an aggregate.
use std::sync::Arc;

use crate::block::Block;
use crate::shape::Shape;
use crate::symbols::TagId;
use crate::tree::Provider;

/// The trait that makes a provider a shared one.
pub(crate) const SHARES: &str = "MISC_SHARES_VIA_AGGREGATE";

/// Where a shared provider is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shared {
    pub(crate) id: Arc<str>,
    pub(crate) slot: u32,
    pub(crate) place: u16,
}

/// What the shared providers of a table mean for one request.
///
/// It changes only if a shared provider begins or ceases to have room for the request, so views compare it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Reach {
    /// For each ask, the aggregates through which it can be met.
    asks: Vec<Vec<TagId>>,
    /// Each shared provider that can meet one, as its traits and its aggregates.
    providers: Vec<(Vec<TagId>, Vec<TagId>)>,
}

impl Reach {
    /// Nothing is within anybody's reach.
    pub(crate) fn is_empty(&self) -> bool {
        self.providers.is_empty()
    }

    pub(crate) fn new<'a>(shape: &Shape, shared: impl Iterator<Item = &'a Provider>) -> Self {
        let mut reach = Self { asks: vec![Vec::new(); shape.asks.len()], providers: Vec::new() };
        for provider in shared {
            let mut helps = false;
            for (ask, through) in shape.asks.iter().zip(&mut reach.asks) {
                let Some(stock) = provider.stock(ask.class) else { continue };
                if ask.parts.iter().any(|part| stock.gives(i64::from(*part))) {
                    through.extend_from_slice(&provider.aggregates);
                    helps = true;
                }
            }
            if helps {
                reach.providers.push((provider.traits.clone(), provider.aggregates.clone()));
            }
        }
        reach
    }

    /// For each ask, the hosts of a block that may take it from elsewhere.
    pub(crate) fn exempt(&self, block: &Block, out: &mut Vec<u64>) {
        out.clear();
        out.extend(self.asks.iter().map(|through| block.tagged_any(through)));
    }

    /// Hosts of a block that may take anything from elsewhere.
    pub(crate) fn reached(&self, block: &Block) -> u64 {
        self.providers.iter().fold(0, |hosts, (_, aggregates)| hosts | block.tagged_any(aggregates))
    }

    /// Hosts of a block that may take from a provider with any of these traits.
    pub(crate) fn reached_with(&self, block: &Block, traits: &[TagId]) -> u64 {
        let bears = self.providers.iter().filter(|(has, _)| traits.iter().any(|wanted| has.contains(wanted)));
        bears.fold(0, |hosts, (_, aggregates)| hosts | block.tagged_any(aggregates))
    }
}
