//! Several doubly linked lists over one array of slot numbers.
//!
//! Every list is a ring through a head node of its own, so a slot leaves its list in constant
//! time without anybody remembering which list that was. Eight bytes per slot.

/// The number of a place in the slab; entries keep theirs for as long as they live.
pub type Slot = u32;

#[derive(Clone, Copy)]
struct Link {
    previous: u32,
    next: u32,
}

/// `lists` lists, numbered from 0; a slot is in one of them or in none.
pub(crate) struct SlotLists {
    /// The heads of the lists first, then one node per slot. A node alone points at itself.
    links: Vec<Link>,
    lists: u32,
}

impl SlotLists {
    pub(crate) fn new(lists: u32) -> Self {
        let links = (0..lists).map(|head| Link { previous: head, next: head }).collect();
        Self { links, lists }
    }

    pub(crate) fn is_empty(&self, list: u32) -> bool {
        self.links[list as usize].next == list
    }

    /// The slot that was pushed first.
    pub(crate) fn front(&self, list: u32) -> Option<Slot> {
        let next = self.links[list as usize].next;
        (next != list).then(|| next - self.lists)
    }

    /// Puts a slot at the end of a list, taking it out of the one that it was in.
    ///
    /// Returns the list that this emptied, if it emptied one.
    pub(crate) fn push_back(&mut self, list: u32, slot: Slot) -> Option<u32> {
        let emptied = self.unlink(slot);
        let node = self.node(slot);
        let last = self.links[list as usize].previous;
        self.links[node as usize] = Link { previous: last, next: list };
        self.links[last as usize].next = node;
        self.links[list as usize].previous = node;
        emptied.filter(|emptied| *emptied != list)
    }

    /// Takes a slot out of its list, if it is in one; returns the list if that emptied it.
    pub(crate) fn unlink(&mut self, slot: Slot) -> Option<u32> {
        let node = slot + self.lists;
        let Link { previous, next } = *self.links.get(node as usize)?;
        self.links[previous as usize].next = next;
        self.links[next as usize].previous = previous;
        self.links[node as usize] = Link { previous: node, next: node };
        (previous == next && previous < self.lists).then_some(previous)
    }

    /// Moves all of one list to the end of another, in constant time.
    pub(crate) fn append(&mut self, from: u32, to: u32) {
        let Link { previous: last, next: first } = self.links[from as usize];
        if first == from {
            return;
        }
        let end = self.links[to as usize].previous;
        self.links[end as usize].next = first;
        self.links[first as usize].previous = end;
        self.links[last as usize].next = to;
        self.links[to as usize].previous = last;
        self.links[from as usize] = Link { previous: from, next: from };
    }

    pub(crate) fn iter(&self, list: u32) -> impl Iterator<Item = Slot> + '_ {
        let mut at = list;
        std::iter::from_fn(move || {
            at = self.links[at as usize].next;
            (at != list).then(|| at - self.lists)
        })
    }

    /// Empties all lists and gives the memory back.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.lists);
    }

    /// The node of a slot, made if this slot was never seen.
    fn node(&mut self, slot: Slot) -> u32 {
        let node = slot + self.lists;
        for alone in self.links.len() as u32..=node {
            self.links.push(Link { previous: alone, next: alone });
        }
        node
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(lists: &SlotLists, list: u32) -> Vec<Slot> {
        lists.iter(list).collect()
    }

    #[test]
    fn a_slot_is_in_one_list_at_a_time_and_in_the_order_pushed() {
        let mut lists = SlotLists::new(2);
        for slot in [5, 0, 3] {
            lists.push_back(0, slot);
        }
        lists.push_back(1, 0);
        assert_eq!(slots(&lists, 0), [5, 3]);
        assert_eq!(slots(&lists, 1), [0]);
        lists.push_back(0, 5);
        assert_eq!(slots(&lists, 0), [3, 5]);
    }

    #[test]
    fn emptying_a_list_is_reported_once() {
        let mut lists = SlotLists::new(2);
        lists.push_back(1, 7);
        lists.push_back(1, 8);
        assert_eq!(lists.unlink(7), None);
        assert_eq!(lists.push_back(1, 8), None, "emptied and filled again in one step");
        assert_eq!(lists.push_back(0, 8), Some(1));
        assert_eq!(lists.unlink(7), None, "in no list");
        assert_eq!(lists.unlink(1_000), None, "never seen");
    }

    #[test]
    fn appending_moves_all_and_keeps_the_order() {
        let mut lists = SlotLists::new(3);
        for slot in 0..6 {
            lists.push_back(slot % 2, slot);
        }
        lists.append(0, 1);
        lists.append(2, 1);
        assert_eq!(slots(&lists, 1), [1, 3, 5, 0, 2, 4]);
        assert!(lists.is_empty(0));
        lists.unlink(0);
        assert_eq!(slots(&lists, 1), [1, 3, 5, 2, 4]);
    }
}
