//! Ways to damage true messages for fuzz tests: octet by octet, and as DER that stays DER, so that damage reaches what lies inside.

/// What to do to a message: to its tree, then to its octets, and then where to cut its end off.
pub type Damage = (Vec<Cut>, Vec<Octet>, u16);

/// Where to change an octet, and into what.
pub type Octet = (u16, u8);

/// Where to change a tree, what to do there (by number), and with which octets.
pub type Cut = (u16, u8, Vec<u8>);

/// The most changes in one message.
const MOST: usize = 8;
/// Trees deeper than this are leaves.
const DEPTH: usize = 24;
/// The most elements of one kind put in the place of one.
const CROWD: usize = 70;

/// A DER message, damaged.
#[must_use]
pub fn message(message: &[u8], (cuts, changes, end): &Damage) -> Vec<u8> {
    octets(tree(message, cuts), changes, *end)
}

/// Octets replaced, and all from `end` on cut off, if there are as many: most messages are left whole.
#[must_use]
pub fn octets(mut octets: Vec<u8>, changes: &[Octet], end: u16) -> Vec<u8> {
    for (place, value) in changes.iter().take(MOST) {
        let place = usize::from(*place) % octets.len().max(1);
        if let Some(octet) = octets.get_mut(place) {
            *octet = *value;
        }
    }
    octets.truncate(end.into());
    octets
}

/// A DER message with elements changed, left out, repeated, exchanged or nested; all lengths are right again, unless one is changed.
/// Octets that hold DER are looked into.
#[must_use]
pub fn tree(message: &[u8], cuts: &[Cut]) -> Vec<u8> {
    let Some(mut nodes) = Node::read_all(message, 0) else { return message.to_vec() };
    for (place, how, octets) in cuts.iter().take(MOST) {
        let count = nodes.iter().map(Node::count).sum::<usize>().max(1);
        let other = nodes.iter().flat_map(Node::all).nth(usize::from(*how) * 7 % count).cloned();
        let mut place = usize::from(*place) % count;
        change(&mut nodes, &mut place, &Change { how: *how, octets, other: other.as_ref() });
    }
    let mut out = Vec::new();
    nodes.iter().for_each(|node| node.write(&mut out));
    out
}

/// Good DER that no reader may follow to its end: nested ten thousand deep, and longer than any message. It begins with `tag`.
///
/// # Panics
/// Where a stack does not suffice for `read`, which is half a mebibyte.
pub fn excessive(tags: &[u8], read: impl Fn(&[u8]) + Sync) {
    let long = wrapped(0x04, vec![0; 100_000]);
    on_a_small_stack(|| {
        for tag in tags {
            [&nested(), &long].into_iter().for_each(|inner| read(&wrapped(*tag, inner.clone())));
        }
    });
}

/// A true message over and over, each time with another of its elements holding what is nested ten thousand deep.
///
/// # Panics
/// Where the message is no DER, and where a stack does not suffice for `read`, which is half a mebibyte.
pub fn excessive_inside(message: &[u8], read: impl Fn(&[u8]) + Sync) {
    let count = Node::read_all(message, 0).expect("DER").iter().map(Node::count).sum::<usize>();
    on_a_small_stack(|| {
        for place in 0..u16::try_from(count).expect("a message of a few elements") {
            read(&tree(message, &[(place, 0, nested())]));
        }
    });
}

fn nested() -> Vec<u8> {
    (0..10_000).fold(Vec::new(), |inner, _| wrapped(0x30, inner))
}

fn on_a_small_stack(read: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let reader = std::thread::Builder::new().stack_size(512 * 1024).spawn_scoped(scope, read).expect("a thread");
        reader.join().expect("the reader refuses");
    });
}

fn wrapped(tag: u8, contents: Vec<u8>) -> Vec<u8> {
    let mut out = Vec::new();
    Node { tag, before: Vec::new(), contents: Contents::Octets(contents), lie: 0 }.write(&mut out);
    out
}

struct Change<'a> {
    how: u8,
    octets: &'a [u8],
    other: Option<&'a Node>,
}

#[derive(Clone, Debug)]
struct Node {
    tag: u8,
    /// The first octet of a bit string.
    before: Vec<u8>,
    contents: Contents,
    /// Added to the true length.
    lie: i8,
}

#[derive(Clone, Debug)]
enum Contents {
    Octets(Vec<u8>),
    Nodes(Vec<Node>),
}

impl Node {
    fn read_all(mut octets: &[u8], depth: usize) -> Option<Vec<Self>> {
        let mut nodes = Vec::new();
        while !octets.is_empty() {
            nodes.push(Self::read(&mut octets, depth)?);
        }
        Some(nodes)
    }

    fn read(octets: &mut &[u8], depth: usize) -> Option<Self> {
        let [tag, first, rest @ ..] = *octets else { return None };
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
            0x82 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), rest.get(2..)?),
            _ => return None,
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        *octets = rest;
        // A bit string says first how many bits of its last octet do not count.
        let before = usize::from(*tag == 3 && !contents.is_empty());
        let (before, inner) = contents.split_at(before);
        let holds = depth < DEPTH && inner.len() > 1 && (tag & 0x20 != 0 || matches!(tag, 3 | 4) || tag & 0xc0 == 0x80);
        let nodes = if holds { Self::read_all(inner, depth + 1) } else { None };
        let contents = nodes.map_or_else(|| Contents::Octets(inner.to_vec()), Contents::Nodes);
        Some(Self { tag: *tag, before: before.to_vec(), contents, lie: 0 })
    }

    fn children(&self) -> &[Self] {
        match &self.contents {
            Contents::Nodes(nodes) => nodes,
            Contents::Octets(_) => &[],
        }
    }

    fn count(&self) -> usize {
        1 + self.children().iter().map(Self::count).sum::<usize>()
    }

    fn all(&self) -> Box<dyn Iterator<Item = &Self> + '_> {
        Box::new(std::iter::once(self).chain(self.children().iter().flat_map(Self::all)))
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut contents = self.before.clone();
        match &self.contents {
            Contents::Octets(octets) => contents.extend_from_slice(octets),
            Contents::Nodes(nodes) => nodes.iter().for_each(|node| node.write(&mut contents)),
        }
        let length = contents.len().saturating_add_signed(self.lie.into());
        let [.., third, second, first] = length.to_be_bytes();
        out.push(self.tag);
        match length {
            0..=0x7f => out.push(first),
            0x80..=0xff => out.extend([0x81, first]),
            0x100..=0xffff => out.extend([0x82, second, first]),
            _ => out.extend([0x83, third, second, first]),
        }
        out.extend(contents);
    }

    fn bend(&mut self, change: &Change<'_>) {
        let octets = change.octets;
        match change.how % 8 {
            0 => self.contents = Contents::Octets(octets.to_vec()),
            1 => self.tag = octets.first().copied().unwrap_or_default(),
            2 => self.lie = octets.first().map_or(-1, |octet| octet.cast_signed()),
            3 => {
                if let Some(other) = change.other {
                    *self = other.clone();
                }
            }
            4 => {
                for _ in 0..=octets.len().min(DEPTH) {
                    let inner =
                        std::mem::replace(self, Self { tag: self.tag, before: Vec::new(), contents: Contents::Nodes(Vec::new()), lie: 0 });
                    self.contents = Contents::Nodes(vec![inner]);
                }
            }
            _ => match &mut self.contents {
                Contents::Octets(own) if !own.is_empty() => {
                    let length = own.len();
                    for (place, octet) in octets.iter().enumerate() {
                        own[place * 3 % length] ^= octet;
                    }
                }
                Contents::Octets(own) => own.extend_from_slice(octets),
                Contents::Nodes(nodes) => nodes.reverse(),
            },
        }
    }
}

/// Changes the element that is `place` elements from here, whether it lies beside or inside; tells whether it was here.
fn change(nodes: &mut Vec<Node>, place: &mut usize, how: &Change<'_>) -> bool {
    for at in 0..nodes.len() {
        if *place == 0 {
            match how.how {
                0x80..=0x9f => drop(nodes.remove(at)),
                0xa0..=0xbf => {
                    let crowd = vec![nodes[at].clone(); 1 + how.octets.len().min(CROWD)];
                    nodes.splice(at..at, crowd);
                }
                0xc0..=0xcf => {
                    let end = nodes.len() - 1;
                    nodes.swap(at, end);
                }
                0xd0..=0xdf => nodes.extend(how.other.cloned()),
                _ => nodes[at].bend(how),
            }
            return true;
        }
        *place -= 1;
        if let Contents::Nodes(inner) = &mut nodes[at].contents
            && change(inner, place, how)
        {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEQUENCE { INTEGER 5, OCTET STRING { SEQUENCE { INTEGER 7 } }, UTF8String "ab" }
    const MESSAGE: &[u8] = &[0x30, 14, 2, 1, 5, 4, 5, 0x30, 3, 2, 1, 7, 12, 2, b'a', b'b'];

    #[test]
    fn what_is_not_changed_is_the_same_and_what_is_no_der_stays_as_it_is() {
        assert_eq!(tree(MESSAGE, &[]), MESSAGE);
        assert_eq!(tree(b"\x30\x05ab", &[(0, 0, vec![])]), b"\x30\x05ab");
    }

    #[test]
    fn damage_inside_octets_leaves_lengths_right() {
        // The fifth element is the INTEGER 7; its contents become three octets.
        let inside = tree(MESSAGE, &[(4, 0, vec![1, 2, 3])]);
        assert_eq!(inside, [0x30, 16, 2, 1, 5, 4, 7, 0x30, 5, 2, 3, 1, 2, 3, 12, 2, b'a', b'b']);
        assert_eq!(tree(MESSAGE, &[(2, 0x80, vec![])]), [0x30, 7, 2, 1, 5, 12, 2, b'a', b'b']);
        assert_eq!(tree(MESSAGE, &[(1, 0xa0, vec![])]), [0x30, 17, 2, 1, 5, 2, 1, 5, 4, 5, 0x30, 3, 2, 1, 7, 12, 2, b'a', b'b']);
    }

    #[test]
    fn every_element_gets_to_hold_what_is_too_deep() {
        let seen = std::sync::Mutex::new(Vec::new());
        excessive_inside(MESSAGE, |octets| seen.lock().expect("one thread").push(octets.len()));
        let depth = nested().len();
        let seen = seen.into_inner().expect("one thread");
        assert_eq!(seen.len(), 6);
        assert!(seen.iter().all(|length| (depth..depth + 40).contains(length)), "{depth} {seen:?}");
    }

    #[test]
    fn octets_are_changed_and_the_end_is_cut_off() {
        assert_eq!(octets(vec![1, 2, 3, 4], &[(1, 9), (6, 8)], 3), [1, 9, 8]);
        assert_eq!(octets(vec![1, 2], &[], 2), [1, 2]);
        assert_eq!(octets(vec![], &[(1, 9)], 1), [0u8; 0]);
    }
}
