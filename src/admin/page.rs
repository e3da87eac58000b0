//! The page at `/`: who waits, because of whom, and how everything else stands.
//!
//! One document without scripts or anything from elsewhere, which has itself read again. Made of the
//! console's tables; but nothing here shows what clients have asked: who may read metrics may read
//! it. All text is escaped, for clients choose some of it.

use std::time::{Duration, SystemTime};

use super::VERSION;
use super::commands::{Column, Row};
use super::registry::Registry;
use super::{alerts, hosts, tables, waiting};
use crate::alerts::{Severity, Shown, State};
use crate::calendar::utc;
use crate::topology::{Standing, State as Presence};
use crate::wire::reply::{ColumnType, Value};

/// Seconds after which it is read again.
const REFRESH: u32 = 5;
/// Lines of a table that are shown; the first are the worst.
const LINES_MAX: usize = 20;

/// The document.
pub fn html(registry: &dyn Registry) -> String {
    let mut page = format!("{HEAD}<meta http-equiv=\"refresh\" content=\"{REFRESH}\">{STYLE}");
    head(&mut page, registry);
    verdict(&mut page, registry);
    raised(&mut page, &registry.alerts());
    for section in SECTIONS {
        section.write(&mut page, (section.rows)(registry));
    }
    page.push_str(
        "<footer>The same is in the console (<code>SHOW WAITING</code>, <code>SHOW HOLDERS</code> …) \
         and at <a href=\"/metrics\">/metrics</a>.</footer></main></body></html>\n",
    );
    page
}

/// A table of the page.
struct Section {
    title: &'static str,
    columns: &'static [Column],
    rows: fn(&dyn Registry) -> Vec<Row>,
    /// What is shown, and under which head.
    shown: &'static [(&'static str, &'static str)],
    /// What is said where there are no lines; empty where the table is left out then.
    nothing: &'static str,
}

static SECTIONS: &[Section] = &[
    Section {
        title: "Who waits, and because of whom",
        columns: waiting::WAITING,
        rows: waiting::waiting,
        shown: &[
            ("id", "client"),
            ("application_name", "application"),
            ("user", "user"),
            ("database", "database"),
            ("addr", "from"),
            ("wait", "waits, s"),
            ("waits_for", "for"),
            ("holder_id", "held by"),
            ("holder_application_name", "its application"),
            ("held", "for, s"),
            ("holder_reason", "pinned by"),
        ],
        nothing: "",
    },
    Section {
        title: "Pools",
        columns: tables::POOLS,
        rows: pools,
        shown: &[
            ("database", "database"),
            ("user", "user"),
            ("cl_active", "active"),
            ("cl_waiting", "waiting"),
            ("maxwait", "longest wait, s"),
            ("sv_active", "servers in use"),
            ("sv_idle", "idle"),
            ("sv_used", "idle for long"),
            ("sv_tested", "tested"),
            ("sv_login", "opening"),
            ("pool_mode", "mode"),
        ],
        nothing: "",
    },
    Section {
        title: "Who has a server",
        columns: waiting::HOLDERS,
        rows: waiting::holders,
        shown: &[
            ("id", "client"),
            ("application_name", "application"),
            ("user", "user"),
            ("database", "database"),
            ("addr", "from"),
            ("held", "for, s"),
            ("asked", "last asked, s ago"),
            ("reason", "pinned by"),
            ("cl_waiting", "waiting for it"),
        ],
        nothing: "Nobody has a server at this moment.",
    },
    Section {
        title: "Hosts",
        columns: hosts::REPLICAS,
        rows: hosts::replicas,
        shown: &[
            ("database", "database"),
            ("host", "host"),
            ("port", "port"),
            ("role", "role"),
            ("state", "state"),
            ("lag_seconds", "lag, s"),
            ("lag_bytes", "lag, bytes"),
            ("timeline", "timeline"),
            ("since", "state for, s"),
            ("breaker", "breaker"),
            ("error", "error"),
        ],
        nothing: "",
    },
    Section {
        title: "Who keeps a server between transactions",
        columns: tables::PINS,
        rows: tables::pins,
        shown: &[
            ("id", "client"),
            ("application_name", "application"),
            ("user", "user"),
            ("database", "database"),
            ("reason", "why"),
            ("age", "for, s"),
        ],
        nothing: "",
    },
    Section {
        title: "Alerts of the last hour",
        columns: alerts::ALERTS,
        rows: alerts::alerts,
        shown: &[
            ("alert", "alert"),
            ("about", "about"),
            ("severity", "severity"),
            ("state", "state"),
            ("since", "since"),
            ("value", "value"),
            ("threshold", "threshold"),
            ("silenced", "silenced"),
        ],
        nothing: "None.",
    },
];

impl Section {
    fn write(&self, page: &mut String, rows: Vec<Row>) {
        if rows.is_empty() && self.nothing.is_empty() {
            return;
        }
        page.push_str(&format!("<section><h2>{}", escaped(self.title)));
        if rows.len() > LINES_MAX {
            page.push_str(&format!(" <small>{LINES_MAX} of {}</small>", rows.len()));
        }
        page.push_str("</h2>");
        if rows.is_empty() {
            page.push_str(&format!("<p>{}</p></section>", escaped(self.nothing)));
            return;
        }
        let place = |name: &str| self.columns.iter().position(|(column, _)| *column == name);
        let shown: Vec<(usize, &str, bool)> = self
            .shown
            .iter()
            .filter_map(|(name, head)| {
                let place = place(name)?;
                // A column that says nothing is left out.
                rows.iter().find(|row| !row.get(place).map(text).unwrap_or_default().is_empty())?;
                let is_number = self.columns.get(place)?.1 != ColumnType::Text;
                Some((place, *head, is_number || name.starts_with("lag")))
            })
            .collect();
        page.push_str("<div><table><thead><tr>");
        for (_, head, is_number) in &shown {
            page.push_str(&format!("<th{}>{}</th>", class(*is_number), escaped(head)));
        }
        page.push_str("</tr></thead><tbody>");
        for row in rows.iter().take(LINES_MAX) {
            page.push_str("<tr>");
            for (place, _, is_number) in &shown {
                let text = row.get(*place).map(text).unwrap_or_default();
                page.push_str(&format!("<td{}>{}</td>", class(*is_number), escaped(&text)));
            }
            page.push_str("</tr>");
        }
        page.push_str("</tbody></table></div></section>");
    }
}

/// Without the console's own line, which is the last.
fn pools(registry: &dyn Registry) -> Vec<Row> {
    let mut rows = tables::pools(registry);
    rows.pop();
    rows
}

fn class(is_number: bool) -> &'static str {
    if is_number { " class=\"n\"" } else { "" }
}

fn text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Numeric(number) => number.to_string(),
        Value::Null => String::new(),
    }
}

/// Text that is nothing but text in a document.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            control if control.is_control() => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

fn head(page: &mut String, registry: &dyn Registry) {
    let general = &registry.config().general;
    let clients = registry.client_count();
    let paused = if registry.is_paused(None) { " · <b>paused</b>" } else { "" };
    page.push_str(&format!(
        "<header><h1>pgweir <small>{}</small></h1><p>{clients} of {} clients{paused} · {}</p></header>",
        escaped(VERSION),
        general.max_client_conn,
        escaped(&utc(SystemTime::now())),
    ));
}

/// The first thing that anybody wants to know.
fn verdict(page: &mut String, registry: &dyn Registry) {
    let pools = registry.pools();
    let waiting: usize = pools.iter().map(|pool| pool.snapshot.waiting).sum();
    let longest = pools.iter().filter_map(|pool| pool.snapshot.oldest_wait).max();
    let hosts = registry.hosts();
    let lacking: Vec<&str> = {
        let has = |name: &str| {
            let mut own = hosts.iter().filter(|(database, _)| database == name);
            own.any(|(_, host)| matches!(host.standing, Standing::Primary | Standing::Equal))
        };
        let mut names: Vec<&str> = hosts.iter().map(|(database, _)| database.as_str()).collect();
        names.dedup();
        names.into_iter().filter(|name| !has(name)).collect()
    };
    let down = hosts.iter().filter(|(_, host)| host.state == Presence::Down).count();
    let (kind, mut words) = match waiting {
        0 => ("good", "Nobody waits for a server.".to_owned()),
        1 => ("bad", format!("One client waits for a server, for {}.", seconds(longest))),
        _ => (
            "bad",
            format!("{waiting} clients wait for a server, the first for {}.", seconds(longest)),
        ),
    };
    let mut kind = kind;
    if down > 0 {
        words += &format!(" {down} of {} hosts do not answer.", hosts.len());
        kind = if kind == "good" { "poor" } else { kind };
    }
    for name in registry.config().databases.keys() {
        if name != "*" && registry.is_paused(Some(name)) && !registry.is_paused(None) {
            words += &format!(" Database {name} is paused.");
            kind = if kind == "good" { "poor" } else { kind };
        }
    }
    for name in lacking {
        words += &format!(" Database {name} has no primary.");
        kind = "bad";
    }
    page.push_str(&format!("<main><p class=\"verdict {kind}\">{}</p>", escaped(&words)));
}

fn seconds(time: Option<Duration>) -> String {
    format!("{:.1} s", time.unwrap_or_default().as_secs_f64())
}

/// Alerts that are raised, the critical ones first.
fn raised(page: &mut String, alerts: &[Shown]) {
    let is_raised = |shown: &&Shown| shown.state == State::Raised;
    let is_worse = |shown: &Shown, other: &Shown| {
        let (key, other) = (&shown.key, &other.key);
        (key.name, &key.about) == (other.name, &other.about) && key.severity > other.severity
    };
    // What is critical need not be said as a warning, too.
    let is_outdone =
        |shown: &Shown| alerts.iter().filter(is_raised).any(|other| is_worse(other, shown));
    let mut raised: Vec<&Shown> = alerts.iter().filter(is_raised).collect();
    raised.retain(|shown| !is_outdone(shown));
    raised.sort_by_key(|shown| std::cmp::Reverse(shown.key.severity));
    if raised.is_empty() {
        return;
    }
    page.push_str("<ul class=\"alerts\">");
    for shown in raised.into_iter().take(LINES_MAX) {
        let kind = if shown.key.severity == Severity::Critical { "bad" } else { "poor" };
        let silenced = if shown.silenced.is_some() { " (silenced)" } else { "" };
        let words = format!("{}{silenced}", shown.summary());
        page.push_str(&format!("<li class=\"{kind}\">{}</li>", escaped(&words)));
    }
    page.push_str("</ul>");
}

const HEAD: &str = "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>pgweir</title>\
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">";

const STYLE: &str = "<style>
:root{color-scheme:light dark;--line:#8883;--dim:#777;--good:#2a7d46;--poor:#a86a00;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--dim:#999;--good:#6fcf8f;--poor:#f0b450;--bad:#ff8a80}}
body{margin:0;font:15px/1.45 system-ui,sans-serif}
header{display:flex;justify-content:space-between;align-items:baseline;flex-wrap:wrap;gap:0 2em;
padding:.8em 1.5em;border-bottom:1px solid var(--line)}
header p,small,footer{color:var(--dim);font-weight:normal}
h1,header p{margin:0}h1{font-size:1.3em}h2{font-size:1em;margin:0 0 .4em}
main{padding:1em 1.5em;max-width:90em}
.verdict{font-size:1.25em;margin:.2em 0 1em;padding-left:.6em;border-left:.3em solid}
.good{color:var(--good)}.poor{color:var(--poor)}.bad{color:var(--bad)}
.alerts{margin:0 0 1.5em;padding-left:1.2em;overflow-wrap:anywhere}
section{margin-bottom:1.8em}section div{overflow-x:auto}section p{margin:0;color:var(--dim)}
table{border-collapse:collapse;font-size:.93em}
th,td{padding:.25em .9em .25em 0;text-align:left;border-bottom:1px solid var(--line);white-space:nowrap;
max-width:32em;overflow:hidden;text-overflow:ellipsis}
th{color:var(--dim);font-weight:normal}.n{text-align:right;font-variant-numeric:tabular-nums}
</style></head><body>";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_choose_is_nothing_but_text() {
        let name = "<script>alert('x')</script>&\"\n";
        let row = |none: Value| vec![Value::Text(name.to_owned()), none, Value::Integer(7)];
        static COLUMNS: &[Column] =
            &[("name", ColumnType::Text), ("none", ColumnType::Text), ("age", ColumnType::Integer)];
        let section = Section {
            title: "t",
            columns: COLUMNS,
            rows: |_| vec![],
            shown: &[("age", "age"), ("name", "name"), ("none", "none")],
            nothing: "",
        };
        let mut page = String::new();
        section.write(&mut page, vec![row(Value::Null); 30]);
        let cells = "<tr><td class=\"n\">7</td><td>&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;\u{fffd}\
                     </td></tr>";
        assert_eq!(page.matches(cells).count(), LINES_MAX, "{page}");
        assert!(page.contains("<small>20 of 30</small>") && !page.contains("<script"), "{page}");
        page.clear();
        section.write(&mut page, vec![row(Value::Text("x".to_owned()))]);
        assert!(page.contains("<th>none</th>") && page.contains("<td>x</td></tr>"), "{page}");
    }

    #[test]
    fn every_column_that_is_shown_exists() {
        for section in SECTIONS {
            for (name, _) in section.shown {
                let mut columns = section.columns.iter();
                assert!(columns.any(|(column, _)| column == name), "{}: {name}", section.title);
            }
        }
    }
}
