//! The addresses in style sheets: to be found, or to be others.

use cssparser::{ParseError, Parser, ParserInput, SourcePosition, Token, serialize_string};

/// Blocks within blocks, beyond which nothing is changed: the deepest style sheets have some ten.
const MAX_DEPTH: u32 = 64;

/// `css` with each address in it as `change` has it, unless that is `None`.
pub(crate) fn rewritten(css: &str, mut change: impl FnMut(&str) -> Option<String>) -> String {
    let mut input = ParserInput::new(css);
    let mut parser = Parser::new(&mut input);
    let start = parser.position();
    let mut writer =
        Writer { change: &mut change, out: String::with_capacity(css.len()), done: start };
    writer.walk(&mut parser, false, 0);
    writer.keep(&parser, parser.position());
    writer.out
}

struct Writer<'a> {
    change: &'a mut dyn FnMut(&str) -> Option<String>,
    out: String,
    /// Up to here all is written.
    done: SourcePosition,
}

impl Writer<'_> {
    /// Reads on to the end of a block. Where a string is an address, `addresses` is set.
    fn walk(&mut self, parser: &mut Parser<'_, '_>, addresses: bool, depth: u32) {
        let mut imports = false;
        loop {
            let before = parser.position();
            let Ok(token) = parser.next_including_whitespace_and_comments() else { return };
            let (mut block, mut named) = (false, addresses);
            match token {
                Token::UnquotedUrl(link) => {
                    let link = link.to_string();
                    self.replace(parser, before, &link, true);
                }
                Token::QuotedString(link) if addresses || imports => {
                    let link = link.to_string();
                    self.replace(parser, before, &link, false);
                }
                Token::Function(name) => {
                    let name = name.to_ascii_lowercase();
                    named = matches!(name.as_str(), "url" | "src") || name.ends_with("image-set");
                    block = true;
                }
                Token::ParenthesisBlock | Token::SquareBracketBlock | Token::CurlyBracketBlock => {
                    block = true;
                }
                Token::WhiteSpace(_) | Token::Comment(_) => continue,
                Token::AtKeyword(name) if name.eq_ignore_ascii_case("import") => {
                    imports = true;
                    continue;
                }
                _ => {}
            }
            imports = false;
            // A block that is not read is passed over as a whole.
            if block && depth < MAX_DEPTH {
                let _: Result<(), ParseError<'_, ()>> = parser.parse_nested_block(|inner| {
                    self.walk(inner, named, depth + 1);
                    Ok(())
                });
            }
        }
    }

    fn replace(&mut self, parser: &Parser<'_, '_>, before: SourcePosition, link: &str, url: bool) {
        let Some(own) = (self.change)(link) else { return };
        self.keep(parser, before);
        let mut quoted = String::new();
        // Writing to a String can't fail.
        let _ = serialize_string(&own, &mut quoted);
        self.out.push_str(&if url { format!("url({quoted})") } else { quoted });
        self.done = parser.position();
    }

    fn keep(&mut self, parser: &Parser<'_, '_>, until: SourcePosition) {
        self.out.push_str(parser.slice(self.done..until));
        self.done = until;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn css(text: &str) -> String {
        rewritten(text, |link| {
            Some(link.split_once("//cdn.example")?.1).map(|path| format!("http://own{path}"))
        })
    }

    #[test]
    fn addresses_become_those_here_and_nothing_else_is_changed() {
        let own = "http://own";
        for (text, expected) in [
            ("a{b:url(https://cdn.example/x.png)}", format!("a{{b:url(\"{own}/x.png\")}}")),
            ("a { b: url( 'https://cdn.example/x' ) }", format!("a {{ b: url( \"{own}/x\" ) }}")),
            ("@import '//cdn.example/a.css';", format!("@import \"{own}/a.css\";")),
            ("@import/**/url(//cdn.example/a)", format!("@import/**/url(\"{own}/a\")")),
            (
                "@media x{a{b:image-set('https://cdn.example/1' 1x, url(b) 2x)}}",
                format!("@media x{{a{{b:image-set(\"{own}/1\" 1x, url(b) 2x)}}}}"),
            ),
        ] {
            assert_eq!(css(text), expected);
        }
        for same in [
            "",
            "a{b:url(/x.png)} /* url(https://cdn.example/) */",
            "a::after{content:'https://cdn.example/'}",
            "a{b:url(data:image/png;base64,AAAA)}",
            "}}} a{ 'unclosed",
        ] {
            assert_eq!(css(same), same);
        }
    }

    #[test]
    fn deep_blocks_end_nothing() {
        let deep = "(".repeat(100_000);
        assert_eq!(css(&deep), deep);
    }
}
