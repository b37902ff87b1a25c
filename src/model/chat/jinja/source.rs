//! What templates write that the engine's syntax lacks, written as it has it.
//!
//! | as it is written | as the engine gets it |
//! |---|---|
//! | `{% generation %}` ... `{% endgeneration %}`, which marks answers for training | `{% with %}` ... `{% endwith %}`: a scope of its own, as in Python |
//! | `'%s of %s' % (a, b)` | `'%s of %s' \| percent(a, b)` |
//! | `content[1:-1]` | `content.sliced(1,-1)`, which can be guarded |
//!
//! Lines stay as they are, since errors name them.

/// The filter that stands for `%` after a string.
pub(super) const PERCENT: &str = "percent";

/// The method that stands for a slice.
pub(super) const SLICE: &str = "sliced";

/// `source` as the engine reads it.
pub(super) fn adapted(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    let mut raw = false;
    while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = match rest.as_bytes().get(1) {
            Some(b'#') if !raw => rest.find("#}").map(|at| at + 2),
            Some(b'{') if !raw => Some(tag_end(rest, "}}")),
            Some(b'%') => Some(tag_end(rest, "%}")),
            _ => Some(1),
        };
        let (tag, later) = rest.split_at(end.unwrap_or(rest.len()));
        match (tag.as_bytes().get(1), name_of(tag)) {
            (Some(b'%'), "raw") => raw = true,
            (Some(b'%'), "endraw") => raw = false,
            _ => {}
        }
        let is_code = !raw && matches!(tag.as_bytes().get(1), Some(b'%' | b'{'));
        match name_of(tag) {
            "generation" if is_code => {
                out.push_str(&tag.replacen("generation", "with", 1));
            }
            "endgeneration" if is_code => {
                out.push_str(&tag.replacen("endgeneration", "endwith", 1));
            }
            _ if is_code && nesting(tag) <= super::NESTING => code(tag, &mut out),
            _ => out.push_str(tag),
        }
        rest = later;
    }
    out.push_str(rest);
    out
}

/// The first word of `{% word ... %}`.
fn name_of(tag: &str) -> &str {
    let Some(inner) = tag.strip_prefix("{%") else {
        return "";
    };
    let inner = inner.trim_start_matches(['-', '+']).trim_start();
    let end = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    &inner[..end.unwrap_or(inner.len())]
}

/// Where the tag at the start of `text` ends: after `close`, outside strings and dictionaries.
fn tag_end(text: &str, close: &str) -> usize {
    let (mut at, mut depth) = (2, 0_usize);
    while at < text.len() {
        if depth == 0 && text[at..].starts_with(close) {
            return at + close.len();
        }
        match text.as_bytes()[at] {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += token(&text[at..]);
    }
    text.len()
}

/// How long the string or the character at the start of `text` is.
fn token(text: &str) -> usize {
    let mut chars = text.char_indices();
    let Some((_, quote)) = chars.next() else {
        return 0;
    };
    if quote != '\'' && quote != '"' {
        return quote.len_utf8();
    }
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// How deep brackets in `text` are in each other. The engine refuses what is deeper than it should.
fn nesting(text: &str) -> usize {
    let (mut at, mut depth, mut deepest) = (0, 0_usize, 0);
    while at < text.len() {
        match text.as_bytes()[at] {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
        at += token(&text[at..]);
    }
    deepest
}

/// Copies what is in a tag, or a part of it, with what stands for `%` after a string and for slices.
fn code(text: &str, out: &mut String) {
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let length = token(rest);
        at += if rest.starts_with('[') {
            slice(rest, out)
        } else {
            out.push_str(&rest[..length]);
            let is_string = length > 1 && rest.starts_with(['\'', '"']);
            length
                + if is_string {
                    percent(&rest[length..], out)
                } else {
                    0
                }
        };
    }
}

/// Copies the bracket at the start of `text`, or its first character. How long what was copied is.
fn slice(text: &str, out: &mut String) -> usize {
    let end = bracket_end(text);
    let inner = text[..end].strip_suffix(']').unwrap_or_default();
    let parts = parts(inner.get(1..).unwrap_or_default());
    if !(2..=3).contains(&parts.len()) {
        out.push('[');
        return 1;
    }
    out.push('.');
    out.push_str(SLICE);
    out.push('(');
    for (i, part) in parts.into_iter().enumerate() {
        out.push_str(if i > 0 { "," } else { "" });
        if part.trim().is_empty() {
            out.push_str("none");
        }
        code(part, out);
    }
    out.push(')');
    end
}

/// What is between the colons of `text` that are in no bracket.
fn parts(text: &str) -> Vec<&str> {
    let (mut parts, mut from, mut at) = (Vec::new(), 0, 0);
    while at < text.len() {
        match text.as_bytes()[at] {
            b'(' | b'[' | b'{' => at += bracket_end(&text[at..]),
            b':' => {
                parts.push(&text[from..at]);
                at += 1;
                from = at;
            }
            _ => at += token(&text[at..]),
        }
    }
    parts.push(&text[from..]);
    parts
}

/// Copies `%` and its operand, where these are at the start of `text`. How long they are.
fn percent(text: &str, out: &mut String) -> usize {
    let operator = text.trim_start();
    let operand = operator
        .strip_prefix('%')
        .filter(|rest| !rest.starts_with('}'));
    let Some(operand) = operand else {
        return 0;
    };
    let (before, space) = (
        text.len() - operator.len(),
        operand.len() - operand.trim_start().len(),
    );
    let operand = &operand[space..];
    let end = operand_end(operand);
    // The brackets of a tuple are those of a call.
    let is_tuple = operand.starts_with('(') && bracket_end(operand) == end;
    out.push_str(&text[..before]);
    out.push('|');
    out.push_str(PERCENT);
    out.push_str(&text[before + 1..before + 1 + space]);
    out.push_str(if is_tuple { "" } else { "(" });
    code(&operand[..end], out);
    out.push_str(if is_tuple { "" } else { ")" });
    before + 1 + space + end
}

/// Where the operand at the start of `text` ends: a name, number, string or bracket, and what
/// follows it without a space: attributes, subscripts, calls, filters.
fn operand_end(text: &str) -> usize {
    let mut at = 0;
    loop {
        let rest = &text[at..];
        at += match rest.chars().next() {
            Some('(' | '[' | '{') => bracket_end(rest),
            Some('\'' | '"') if at == 0 => token(rest),
            Some(c) if c.is_alphanumeric() || c == '_' => c.len_utf8(),
            Some('.' | '|') => 1,
            _ => return at,
        };
    }
}

/// Where the bracket at the start of `text` is closed.
fn bracket_end(text: &str) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < text.len() {
        match text.as_bytes()[at] {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            _ => {}
        }
        at += token(&text[at..]);
        if depth == 0 {
            break;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_read_and_its_lines_stay(
            text in "(\\{\\{|\\}\\}|\\{%|%\\}|\\{#|#\\}|raw|[\\[\\](){}:%'\"\\\\.|ab é\n-]){0,40}",
        ) {
            let adapted = adapted(&text);
            prop_assert_eq!(adapted.matches('\n').count(), text.matches('\n').count());
        }
    }

    #[test]
    fn what_the_engine_lacks_is_rewritten_and_lines_stay() {
        for (source, right) in [
            (
                "{%- generation -%}\nx{% endgeneration %}",
                "{%- with -%}\nx{% endwith %}",
            ),
            ("{{ '%s' % a }}", "{{ '%s' |percent (a) }}"),
            (
                "{{ '%s'%(a, b.c) ~ d % 2 }}",
                "{{ '%s'|percent(a, b.c) ~ d % 2 }}",
            ),
            (
                "{{ \"%d\" % x.y[0](1)|int + 1 }}",
                "{{ \"%d\" |percent (x.y[0](1)|int) + 1 }}",
            ),
            ("{{ ('%s' % 'a') % b }}", "{{ ('%s' |percent ('a')) % b }}"),
            (
                "{{ a[1:] ~ b[0] ~ [1, {'a': 2}] }}",
                "{{ a.sliced(1,none) ~ b[0] ~ [1, {'a': 2}] }}",
            ),
            (
                "{{ a['x:y'][::-1].b[c[1:2][0]:\n-d] }}",
                "{{ a['x:y'].sliced(none,none,-1).b.sliced(c.sliced(1,2)[0],\n-d) }}",
            ),
            (
                "{{ '%s' % a[1:] }}[1:2]",
                "{{ '%s' |percent (a.sliced(1,none)) }}[1:2]",
            ),
            ("{{ a[1: }}", "{{ a[1: }}"),
            ("{% if 'a' %}b{% endif %}", "{% if 'a' %}b{% endif %}"),
            (
                "{% raw %}{{ '%' % a }}{% generation %}{% endraw %}",
                "{% raw %}{{ '%' % a }}{% generation %}{% endraw %}",
            ),
            (
                "{# '%' % a {% generation %} #}{",
                "{# '%' % a {% generation %} #}{",
            ),
            (
                "{{ '%} }} {% generation %}' ~ 'x\\'%' % y",
                "{{ '%} }} {% generation %}' ~ 'x\\'%' |percent (y)",
            ),
            (
                "{{ {'a': {'b': 1}}.a ~ '%s' % x }}",
                "{{ {'a': {'b': 1}}.a ~ '%s' |percent (x) }}",
            ),
            ("{{ '", "{{ '"),
            ("{%", "{%"),
            ("a { b", "a { b"),
        ] {
            assert_eq!(adapted(source), right);
            assert_eq!(adapted(source).lines().count(), source.lines().count());
        }
    }
}
