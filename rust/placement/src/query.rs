//! The query string of Placement's `GET /allocation_candidates` at 1.39, read into a [`Request`].
//!
//! Keys: `resources`, `required`, `member_of` and `in_tree`, each with any suffix of 1 to 64 of `[a-zA-Z0-9_-]`
//! for a group of that name; `group_policy`, `root_required`, `same_subtree`, `limit`. The keys and values are
//! already percent-decoded. What Placement answers 400 to is [`QueryError`].
use std::collections::{BTreeMap, BTreeSet};

use crate::spec::{Group, GroupPolicy, Request};

/// What is wrong with a query, to be shown to who sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct QueryError(String);

/// A query read: the request, and how many candidates are wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// What is asked for.
    pub request: Request,
    /// At most so many.
    pub limit: Option<usize>,
}

fn wrong<T>(why: impl Into<String>) -> Result<T, QueryError> {
    Err(QueryError(why.into()))
}

impl Query {
    /// Read the pairs of a query string, in their order.
    ///
    /// # Errors
    /// [`QueryError`] says what is malformed, unknown, missing or contradictory.
    pub fn read<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, QueryError> {
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        let mut query = Self { request: Request::default(), limit: None };
        let mut root_seen = false;
        for (key, value) in pairs {
            match key {
                "limit" => query.limit = Some(limit(value)?),
                "group_policy" => query.request.group_policy = policy(value)?,
                "root_required" if root_seen => {
                    return wrong("Query parameter 'root_required' may be specified only once.");
                }
                "root_required" => {
                    root_seen = true;
                    query.request.root_required = plain_traits(value)?;
                }
                "same_subtree" => query.request.same_subtree.push(subtree(value)?),
                _ => read_group(key, value, &mut groups)?,
            }
        }
        check(&groups, &query.request)?;
        if let Some(unnamed) = groups.remove("") {
            let Group { resources, required, member_of, in_tree, .. } = unnamed;
            query.request = Request { resources, required, member_of, in_tree, ..query.request };
        }
        query.request.groups = groups;
        Ok(query)
    }
}

fn read_group(key: &str, value: &str, groups: &mut BTreeMap<String, Group>) -> Result<(), QueryError> {
    const KEYS: [&str; 4] = ["resources", "required", "member_of", "in_tree"];
    let found = KEYS.into_iter().find_map(|prefix| Some((prefix, key.strip_prefix(prefix)?)));
    let Some((prefix, suffix)) = found.filter(|(_, suffix)| is_suffix(suffix)) else {
        return wrong(format!("Invalid query string parameter: {key:?} is unknown."));
    };
    let group = groups.entry(suffix.to_owned()).or_default();
    match prefix {
        "resources" => group.resources = resources(value)?,
        "required" => group.required.extend(traits(value)?),
        "member_of" => group.member_of.push(member_of(value)?),
        _ => group.in_tree = Some(uuid(value.trim(), "in_tree")?),
    }
    Ok(())
}

fn is_suffix(suffix: &str) -> bool {
    suffix.len() <= 64 && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

fn limit(value: &str) -> Result<usize, QueryError> {
    match value.parse() {
        Ok(limit) if limit > 0 && !value.starts_with(['0', '+']) => Ok(limit),
        _ => wrong(format!("Invalid query string parameter: limit is a positive integer, not {value:?}.")),
    }
}

fn policy(value: &str) -> Result<GroupPolicy, QueryError> {
    match value {
        "none" => Ok(GroupPolicy::None),
        "isolate" => Ok(GroupPolicy::Isolate),
        _ => wrong(format!("Invalid query string parameter: group_policy is none or isolate, not {value:?}.")),
    }
}

fn subtree(value: &str) -> Result<Vec<String>, QueryError> {
    let names: BTreeSet<&str> = value.split(',').map(str::trim).collect();
    if names.contains("") {
        return wrong("Empty string (unsuffixed group) can not be specified in `same_subtree`");
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

fn resources(value: &str) -> Result<BTreeMap<String, i64>, QueryError> {
    const FORM: &str = "Badly formed resources parameter. Expected resources query string parameter in form: \
                        ?resources=VCPU:2,MEMORY_MB:1024.";
    let mut resources = BTreeMap::new();
    for part in value.split(',') {
        let Some((class, amount)) = part.split_once(':').filter(|(class, _)| is_name(class)) else {
            return wrong(format!("{FORM} Got: {value:?}."));
        };
        let Ok(number) = amount.trim().parse::<i64>() else {
            return wrong(format!("Requested resource {class} expected positive integer amount. Got: {amount}."));
        };
        if !(1..=i64::from(i32::MAX)).contains(&number) {
            return wrong(format!("Requested resource {class} requires amount >= 1. Got: {number}."));
        }
        resources.insert(class.to_owned(), number);
    }
    Ok(resources)
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// `in:A,B` is one expression, `A,!B` are two.
fn traits(value: &str) -> Result<Vec<String>, QueryError> {
    let Some(list) = value.strip_prefix("in:") else { return plain_traits(value) };
    let names: Vec<&str> = list.split(',').map(str::trim).collect();
    if names.iter().any(|name| name.starts_with('!')) {
        return wrong(format!(
            "Invalid query string parameters: The format 'in:HW_CPU_X86_VMX,CUSTOM_MAGIC' does not support forbidden \
             traits. Got: {value}"
        ));
    }
    if !names.iter().all(|name| is_name(name)) {
        return wrong(format!(
            "Invalid query string parameters: Expected 'required' parameter value of the form: \
             in:HW_CPU_X86_VMX,CUSTOM_MAGIC. Got an empty trait in: {value}"
        ));
    }
    Ok(vec![format!("in:{}", names.join(","))])
}

fn plain_traits(value: &str) -> Result<Vec<String>, QueryError> {
    let read = |text: &str| {
        let (forbidden, name) = text.trim().strip_prefix('!').map_or((false, text.trim()), |name| (true, name));
        // Placement takes any number of exclamation marks for one.
        let name = name.trim_start_matches('!');
        if !is_name(name) {
            return wrong(format!(
                "Invalid query string parameters: Expected 'required' parameter value of the form: \
                 HW_CPU_X86_VMX,!CUSTOM_MAGIC. Got an empty trait in: {value}"
            ));
        }
        Ok(if forbidden { format!("!{name}") } else { name.to_owned() })
    };
    value.split(',').map(read).collect()
}

fn member_of(value: &str) -> Result<String, QueryError> {
    let (mark, list) = value.strip_prefix('!').map_or(("", value), |list| ("!", list));
    let Some(list) = list.strip_prefix("in:") else {
        if list.contains(',') {
            return wrong(format!(
                "Multiple values for 'member_of' must be prefixed with the 'in:' or '!in:' keyword using the valid \
                 microversion. Got: {value}"
            ));
        }
        return Ok(format!("{mark}{}", uuid(list, "member_of")?));
    };
    let ids = list.split(',').map(|id| uuid(id, "member_of")).collect::<Result<Vec<_>, _>>()?;
    Ok(format!("{mark}in:{}", ids.join(",")))
}

/// A UUID as Placement accepts it: 32 hexadecimal digits, hyphens anywhere.
fn uuid(value: &str, what: &str) -> Result<String, QueryError> {
    let digits = value.bytes().filter(|byte| *byte != b'-');
    let is_uuid = digits.clone().count() == 32 && digits.clone().all(|byte| byte.is_ascii_hexdigit());
    if !is_uuid {
        return wrong(format!(
            "Invalid query string parameters: Expected '{what}' parameter to contain valid UUID(s). Got: {value}"
        ));
    }
    Ok(value.to_owned())
}

fn check(groups: &BTreeMap<String, Group>, request: &Request) -> Result<(), QueryError> {
    if groups.values().all(|group| group.resources.is_empty()) {
        return wrong("There must be at least one resources or resources[$S] parameter.");
    }
    let listed: BTreeSet<&String> = request.same_subtree.iter().flatten().collect();
    let bare = groups.iter().filter(|(name, group)| group.resources.is_empty() && !listed.contains(name));
    let bare: Vec<&str> = bare.map(|(name, _)| name.as_str()).collect();
    if !bare.is_empty() {
        return wrong(format!(
            "Resourceless suffixed group request should be specified in `same_subtree` query param: bad group(s) - \
             {bare:?}."
        ));
    }
    let unknown: Vec<&&String> = listed.iter().filter(|name| !groups.contains_key(**name)).collect();
    if !unknown.is_empty() {
        return wrong(format!("Real suffixes should be specified in `same_subtree`: {unknown:?} not found."));
    }
    let root = conflict(&request.root_required);
    if let Some(name) = root {
        return wrong(format!("Conflicting required and forbidden traits found in root_required: {name}"));
    }
    match groups.iter().find_map(|(suffix, group)| Some((suffix, conflict(&group.required)?))) {
        None => Ok(()),
        Some((suffix, names)) => wrong(format!(
            "Conflicting required and forbidden traits found in the following traits keys: required{suffix}: ({names})"
        )),
    }
}

/// A required expression all of whose names are forbidden.
fn conflict(expressions: &[String]) -> Option<&str> {
    let forbidden: BTreeSet<&str> = expressions.iter().filter_map(|text| text.strip_prefix('!')).collect();
    let required = expressions.iter().filter(|text| !text.starts_with('!'));
    let mut names = required.map(|text| text.strip_prefix("in:").unwrap_or(text));
    names.find(|names| names.split(',').all(|name| forbidden.contains(name)))
}
