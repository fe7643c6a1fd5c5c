//! The text of a security group, so that a change of one rule reads that rule alone.
//!
//! Groups come as a whole, and mostly one rule of hundreds differs. So the text of each is kept with the places of its rules. Of a new
//! text the rules within what both texts begin and end with are the old ones: the same bytes at the same place of the same list. What is
//! between is read. Where the rest of the text differs too, everything is read anew.

use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::value::RawValue;

use crate::wish::{Id, Rule, SecurityGroup, WishError, yes};

/// A rule and where its text is in memory.
struct Placed {
    rule: Rule,
    at: usize,
    length: usize,
}

impl<'de> Deserialize<'de> for Placed {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = <&RawValue>::deserialize(input)?.get();
        let rule = serde_json::from_str(text).map_err(D::Error::custom)?;
        Ok(Self { rule, at: text.as_ptr().addr(), length: text.len() })
    }
}

#[derive(Deserialize)]
struct Group {
    id: Id,
    name: String,
    #[serde(default = "yes")]
    stateful: bool,
    #[serde(default)]
    rules: Vec<Placed>,
}

/// A group's text and where its rules are in it.
pub struct Text {
    body: Box<[u8]>,
    rules: Vec<Range<usize>>,
}

/// What differs between two texts of one group: the rules that are `fresh` take the place of those in `gone`.
pub struct Patch {
    /// Places in the old list.
    pub gone: Range<usize>,
    /// Rules of the new one.
    pub fresh: Vec<Rule>,
}

impl Text {
    /// Reads a whole group.
    ///
    /// # Errors
    /// It is none, or names itself otherwise.
    pub fn read(id: &str, body: &[u8]) -> Result<(SecurityGroup, Self), WishError> {
        let group: Group = serde_json::from_slice(body)?;
        if *group.id != *id {
            return Err(WishError::OtherId { put: id.to_owned(), own: group.id.to_string() });
        }
        let (rules, places) = apart(group.rules, body.as_ptr().addr());
        let Group { id, name, stateful, .. } = group;
        Ok((SecurityGroup { id, name, stateful, rules }, Self { body: body.into(), rules: places }))
    }

    /// Whether this is the same text.
    pub fn is(&self, body: &[u8]) -> bool {
        *self.body == *body
    }

    /// What makes this text the one in `body`; None, and nothing is changed, where that isn't a matter of some rules alone.
    pub fn patch(&mut self, body: &[u8]) -> Option<Patch> {
        let (old, new) = (self.body.len(), body.len());
        let head = common_head(&self.body, body);
        let tail = common_tail(&self.body[head..], &body[head..]);
        let (first, last) = (self.rules.first()?.start, self.rules.last()?.end);
        if head < first || last < old - tail {
            return None;
        }
        let before = self.rules.partition_point(|place| place.end <= head);
        let after = self.rules.partition_point(|place| place.start < old - tail).max(before);
        let from = if before == 0 { first } else { self.rules[before - 1].end };
        let to = self.rules.get(after).map_or(last, |place| place.start);
        let to = to + new - old;
        let middle = body.get(from..to)?;
        let (rules, places) = between(middle, from, before > 0, after < self.rules.len())?;
        if before == 0 && after == self.rules.len() && rules.is_empty() {
            return None;
        }
        for place in &mut self.rules[after..] {
            *place = place.start + new - old..place.end + new - old;
        }
        self.rules.splice(before..after, places);
        self.body = body.into();
        Some(Patch { gone: before..after, fresh: rules })
    }
}

/// Bytes that are compared at once.
const STRIDE: usize = 64;

/// How many bytes both begin with.
fn common_head(one: &[u8], other: &[u8]) -> usize {
    let same = one.chunks_exact(STRIDE).zip(other.chunks_exact(STRIDE)).take_while(|(one, other)| one == other);
    let at = same.count() * STRIDE;
    at + one[at..].iter().zip(&other[at..]).take_while(|(one, other)| one == other).count()
}

/// How many bytes both end with.
fn common_tail(one: &[u8], other: &[u8]) -> usize {
    let same = one.rchunks_exact(STRIDE).zip(other.rchunks_exact(STRIDE)).take_while(|(one, other)| one == other);
    let at = same.count() * STRIDE;
    let (one, other) = (&one[..one.len() - at], &other[..other.len() - at]);
    at + one.iter().rev().zip(other.iter().rev()).take_while(|(one, other)| one == other).count()
}

/// Reads a part of a list, in which rules come before and after or not, and says where in the whole text its rules are.
fn between(middle: &[u8], from: usize, before: bool, after: bool) -> Option<(Vec<Rule>, Vec<Range<usize>>)> {
    let (open, close): (&[u8], &[u8]) = (if before { b"[null" } else { b"[" }, if after { b"null]" } else { b"]" });
    let list = [open, middle, close].concat();
    let mut items: Vec<Option<Placed>> = serde_json::from_slice(&list).ok()?;
    if before && items.remove(0).is_some() || after && items.pop()?.is_some() {
        return None;
    }
    let items: Option<Vec<Placed>> = items.into_iter().collect();
    let (rules, places) = apart(items?, list.as_ptr().addr() + open.len());
    Some((rules, places.into_iter().map(|place| place.start + from..place.end + from).collect()))
}

/// Rules, and their places in the text that begins at `start`.
fn apart(placed: Vec<Placed>, start: usize) -> (Vec<Rule>, Vec<Range<usize>>) {
    placed.into_iter().map(|placed| (placed.rule, placed.at - start..placed.at - start + placed.length)).unzip()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule(number: u8) -> String {
        let direction = if number.is_multiple_of(2) { "ingress" } else { "egress" };
        let note = ["", ",\"note\":\"], null [{\"", ",\"nested\":[null,{}]"][usize::from(number) % 3];
        format!(r#"{{"id":"r{number}","direction":"{direction}","ethertype":"IPv4","port_min":{number}{note}}}"#)
    }

    fn text(name: &str, rules: &[u8], separator: &str) -> String {
        let rules: Vec<String> = rules.iter().map(|number| rule(*number)).collect();
        format!(r#"{{"id":"g","name":"{name}","rules":[{}],"later":[1]}}"#, rules.join(separator))
    }

    /// Whether a text could be patched; checked against reading all of it.
    fn patched(known: &mut Text, rules: &mut Vec<Rule>, body: &str) -> bool {
        let whole = Text::read("g", body.as_bytes());
        let Some(patch) = known.patch(body.as_bytes()) else { return false };
        rules.splice(patch.gone, patch.fresh);
        let (group, text) = whole.unwrap();
        assert_eq!((&group.rules, &text.rules), (&*rules, &known.rules));
        assert_eq!(text.body, known.body);
        true
    }

    #[test]
    fn one_rule_is_read_where_one_differs() {
        let (group, mut known) = Text::read("g", text("n", &[1, 2, 3, 4], ",").as_bytes()).unwrap();
        let mut rules = group.rules;
        for numbers in [&[1, 2, 9, 4][..], &[1, 9, 4], &[9, 4], &[9, 8, 7, 4], &[9, 8, 7, 4, 5], &[6]] {
            assert!(patched(&mut known, &mut rules, &text("n", numbers, ",")), "{numbers:?}");
        }
        assert!(!patched(&mut known, &mut rules, &text("other", &[6], ",")));
        assert!(!patched(&mut known, &mut rules, &text("n", &[], ",")));
        assert!(!patched(&mut known, &mut rules, r#"{"id":"g","name":"n","rules":[null],"later":[1]}"#));
    }

    proptest! {
        #[test]
        fn patching_is_reading_anew(
            texts in prop::collection::vec((0_u8..4, prop::collection::vec(0_u8..9, 0..6)), 2..8),
            cut in 0_usize..400, garbage in "[\\[\\]{}\", nul0-9]{0,3}",
        ) {
            let body = |(style, rules): &(u8, Vec<u8>)| text(["n", "n", "n", "m"][usize::from(*style)], rules, [",", ", "][usize::from(*style % 2)]);
            let (group, mut known) = Text::read("g", body(&texts[0]).as_bytes()).unwrap();
            let mut rules = group.rules;
            for wished in &texts[1..] {
                let body = body(wished);
                // What no group is stays what it is.
                let mut broken = body.clone();
                broken.insert_str(cut % body.len(), &garbage);
                for body in [&broken, &body] {
                    if Text::read("g", body.as_bytes()).is_err() {
                        prop_assert!(known.patch(body.as_bytes()).is_none(), "{}", body);
                    } else if !patched(&mut known, &mut rules, body) {
                        let (group, text) = Text::read("g", body.as_bytes()).unwrap();
                        (rules, known) = (group.rules, text);
                    }
                }
            }
        }
    }
}
