//! Just enough XML: a writer for answers and a reader for request bodies.
//!
//! Names are written as given, text is always escaped. The reader keeps elements and text only,
//! which is all that CloudFront's requests hold.

use quick_xml::escape::{escape, resolve_predefined_entity};
use quick_xml::events::Event;
use quick_xml::reader::Reader;

/// A document under construction.
pub(super) struct Xml {
    out: String,
}

impl Xml {
    /// A whole document whose root carries `namespace`.
    pub(super) fn document(root: &str, namespace: &str, fill: impl FnOnce(&mut Self)) -> String {
        let mut xml = Self::begin();
        xml.out.push('<');
        xml.out.push_str(root);
        xml.out.push_str(" xmlns=\"");
        xml.out.push_str(&escape(namespace));
        xml.out.push_str("\">");
        fill(&mut xml);
        xml.close(root);
        xml.out
    }

    /// A whole document without a namespace.
    pub(super) fn bare_document(root: &str, fill: impl FnOnce(&mut Self)) -> String {
        let mut xml = Self::begin();
        xml.element(root, fill);
        xml.out
    }

    fn begin() -> Self {
        let mut out = String::with_capacity(512);
        out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        Self { out }
    }

    /// An element that holds others.
    pub(super) fn element(&mut self, name: &str, fill: impl FnOnce(&mut Self)) {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push('>');
        fill(self);
        self.close(name);
    }

    /// An element that holds text.
    pub(super) fn leaf(&mut self, name: &str, text: impl ToString) {
        let text = text.to_string();
        self.element(name, |xml| xml.out.push_str(&escape(text.as_str())));
    }

    /// CloudFront's empty list: a `Quantity` of zero without `Items`.
    pub(super) fn empty_list(&mut self, name: &str) {
        self.element(name, |xml| xml.leaf("Quantity", 0));
    }

    fn close(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }
}

/// An element that was read: its local name, its text and its children.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub name: String,
    pub text: String,
    pub children: Vec<Node>,
}

impl Node {
    /// Reads the root element of a document; `None` when it isn't well-formed.
    pub(super) fn parse(document: &str) -> Option<Self> {
        let mut reader = Reader::from_str(document);
        let mut open: Vec<Node> = vec![Node::default()];
        loop {
            match reader.read_event().ok()? {
                Event::Start(tag) => open.push(Self::named(tag.local_name().as_ref())?),
                Event::Empty(tag) => {
                    let node = Self::named(tag.local_name().as_ref())?;
                    open.last_mut()?.children.push(node);
                }
                Event::End(_) => {
                    let done = open.pop()?;
                    open.last_mut()?.children.push(done);
                }
                Event::Text(text) => open.last_mut()?.text.push_str(&text.decode().ok()?),
                Event::CData(text) => open.last_mut()?.text.push_str(&text.decode().ok()?),
                Event::GeneralRef(entity) => {
                    let node = open.last_mut()?;
                    match entity.resolve_char_ref().ok()? {
                        Some(character) => node.text.push(character),
                        None => {
                            let name = entity.decode().ok()?;
                            node.text.push_str(resolve_predefined_entity(&name)?);
                        }
                    }
                }
                Event::Eof => break,
                _ => {}
            }
        }
        let mut document = open.pop()?;
        (open.is_empty() && document.children.len() == 1).then(|| document.children.remove(0))
    }

    /// The first child of that name.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The trimmed text of the first child of that name.
    pub(super) fn child_text(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.trim())
    }

    fn named(local_name: &[u8]) -> Option<Self> {
        let name = std::str::from_utf8(local_name).ok()?.to_owned();
        Some(Self {
            name,
            ..Self::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_survives_a_round_trip_through_the_writer_and_the_reader() {
        let document = Xml::document("Paths", "urn:example", |xml| {
            xml.leaf("Path", "/a?b=1&c=<2>");
            xml.empty_list("None");
        });
        let root = Node::parse(&document).expect("the writer's output is well-formed");
        assert_eq!(root.name, "Paths");
        assert_eq!(root.child_text("Path"), Some("/a?b=1&c=<2>"));
        assert_eq!(
            root.child("None").and_then(|node| node.child_text("Quantity")),
            Some("0")
        );
    }

    #[test]
    fn a_broken_document_is_refused() {
        assert!(Node::parse("<a><b></a>").is_none());
        assert!(Node::parse("<a>").is_none());
        assert!(Node::parse("not xml").is_none());
    }
}
