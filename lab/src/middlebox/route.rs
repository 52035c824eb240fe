//! Which way a packet takes: the links, points and the host at its end, from where it is and where
//! it goes. The map's order of points is written down here, and nowhere else.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::map::{Place, Point};

/// One step of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hop {
    /// Over the link with this number.
    Link(usize),
    /// Past a censor.
    Point(Point),
    /// To the host with this number.
    Host(usize),
}

/// Where a packet is, seen from the censors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Spot {
    /// A customer of a provider, before its point.
    Customer(Place),
    /// With a provider, behind its point: its servers, and what it injects.
    Isp(Place),
    /// At the country's exchange.
    Exchange,
    /// On the country's side of the border.
    Border,
    /// Abroad.
    Abroad,
}

impl Spot {
    /// Where a packet is that a censor puts on the line.
    pub(super) fn at(point: Point) -> Self {
        match point {
            Point::IspA => Self::Isp(Place::IspA),
            Point::IspB => Self::Isp(Place::IspB),
            Point::Exchange => Self::Exchange,
            Point::Border | Point::Inbound => Self::Border,
        }
    }

    /// Whether a packet from here leaves the people whom a point watches.
    pub(super) fn is_within(self, point: Point) -> bool {
        match self {
            Self::Customer(place) => {
                place.point() == Some(point) || !matches!(point, Point::IspA | Point::IspB)
            }
            Self::Isp(_) | Self::Exchange | Self::Border => {
                !matches!(point, Point::IspA | Point::IspB)
            }
            Self::Abroad => false,
        }
    }
}

/// A host that is attached to the line.
#[derive(Clone, Debug)]
pub(crate) struct Attached {
    pub(crate) place: Place,
    /// Whether it is a customer of its provider, rather than one of its servers.
    pub(crate) customer: bool,
    /// All addresses that are reached through it.
    pub(crate) addrs: Vec<IpAddr>,
}

/// All ways between the hosts of a world.
pub(crate) struct Routes {
    /// By number; nothing for hosts behind another.
    hosts: Vec<Option<Attached>>,
    by_addr: HashMap<IpAddr, usize>,
    known: HashMap<(Spot, Option<usize>, usize), Arc<[Hop]>>,
}

impl Routes {
    pub(crate) fn new(hosts: Vec<Option<Attached>>) -> Self {
        let numbered = hosts.iter().enumerate();
        let by_addr = numbered
            .flat_map(|(number, host)| {
                host.iter().flat_map(move |host| host.addrs.iter().map(move |addr| (*addr, number)))
            })
            .collect();
        Self { hosts, by_addr, known: HashMap::new() }
    }

    /// Where packets of a host begin.
    pub(super) fn spot(&self, host: usize) -> Spot {
        match &self.hosts[host] {
            Some(Attached { place: Place::Abroad, .. }) | None => Spot::Abroad,
            Some(Attached { place: Place::Exchange, .. }) => Spot::Exchange,
            Some(Attached { place, customer: true, .. }) => Spot::Customer(*place),
            Some(Attached { place, customer: false, .. }) => Spot::Isp(*place),
        }
    }

    /// The way from a spot to an address, over the link of the host that sends if there is one.
    /// Nothing if nobody has the address.
    pub(super) fn path(
        &mut self,
        from: Spot,
        sender: Option<usize>,
        to: IpAddr,
    ) -> Option<Arc<[Hop]>> {
        let to = *self.by_addr.get(&to)?;
        let key = (from, sender, to);
        if let Some(path) = self.known.get(&key) {
            return Some(Arc::clone(path));
        }
        let mut path = Vec::new();
        if let Some(host) = sender {
            path.push(Hop::Link(2 * host));
        }
        self.onward(from, sender.is_some(), to, &mut path);
        let path: Arc<[Hop]> = path.into();
        self.known.insert(key, Arc::clone(&path));
        Some(path)
    }

    /// The way from a spot on. `entering` tells a server at the spot from what is injected there.
    fn onward(&self, from: Spot, entering: bool, to: usize, path: &mut Vec<Hop>) {
        let Some(place) = self.hosts[to].as_ref().map(|host| host.place) else { return };
        let to_customer = self.hosts[to].as_ref().is_some_and(|host| host.customer);
        match from {
            Spot::Customer(own) => {
                path.extend(own.point().map(Hop::Point));
                return self.onward(Spot::Isp(own), false, to, path);
            }
            Spot::Isp(own) => {
                // A provider's server is seen when it speaks with customers or with the world.
                if entering && (to_customer || place != own) {
                    path.extend(own.point().map(Hop::Point));
                }
                if place == own {
                    return self.arrive(to, path);
                }
                path.push(self.trunk(own, false));
                if place == Place::Abroad {
                    path.extend([Hop::Point(Point::Border), Hop::Point(Point::Inbound)]);
                    path.push(self.trunk(Place::Abroad, false));
                    return self.arrive(to, path);
                }
                path.push(Hop::Point(Point::Exchange));
            }
            Spot::Exchange | Spot::Border if place == Place::Abroad => {
                if from == Spot::Exchange {
                    path.extend([Hop::Point(Point::Border), Hop::Point(Point::Inbound)]);
                }
                path.push(self.trunk(Place::Abroad, false));
                return self.arrive(to, path);
            }
            Spot::Exchange if entering => path.push(Hop::Point(Point::Exchange)),
            Spot::Exchange | Spot::Border => {}
            Spot::Abroad if place == Place::Abroad => return self.arrive(to, path),
            Spot::Abroad => {
                path.push(self.trunk(Place::Abroad, true));
                path.extend([Hop::Point(Point::Border), Hop::Point(Point::Inbound)]);
            }
        }
        if let Some(point) = place.point() {
            path.extend([self.trunk(place, true), Hop::Point(point)]);
        }
        self.arrive(to, path);
    }

    fn arrive(&self, to: usize, path: &mut Vec<Hop>) {
        path.extend([Hop::Link(2 * to + 1), Hop::Host(to)]);
    }

    /// The link between a place and the core, towards the place or away from it.
    fn trunk(&self, place: Place, towards: bool) -> Hop {
        // Abroad is entered by leaving the country, so that both ways have one meaning there too.
        Hop::Link(2 * (self.hosts.len() + place as usize) + usize::from(towards))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes() -> Routes {
        let host = |place, customer, addr: &str| {
            Some(Attached { place, customer, addrs: vec![addr.parse().unwrap()] })
        };
        Routes::new(vec![
            host(Place::IspA, true, "198.18.1.1"),
            host(Place::IspA, false, "198.18.1.53"),
            host(Place::IspB, true, "198.18.2.1"),
            host(Place::Exchange, false, "198.18.100.10"),
            host(Place::Abroad, false, "198.19.10.10"),
        ])
    }

    /// The points between two hosts.
    fn points(from: usize, to: &str) -> Vec<Point> {
        let mut routes = routes();
        let path = routes.path(routes.spot(from), Some(from), to.parse().unwrap()).unwrap();
        assert_eq!(path[0], Hop::Link(2 * from));
        let points = path.iter().filter_map(|hop| match hop {
            Hop::Point(point) => Some(*point),
            Hop::Link(_) | Hop::Host(_) => None,
        });
        points.collect()
    }

    #[test]
    fn each_way_passes_its_points_in_order() {
        use Point::{Border, Exchange, Inbound, IspA, IspB};
        assert_eq!(points(0, "198.18.1.53"), [IspA]);
        assert_eq!(points(1, "198.18.1.1"), [IspA]);
        assert_eq!(points(0, "198.18.2.1"), [IspA, Exchange, IspB]);
        assert_eq!(points(0, "198.18.100.10"), [IspA, Exchange]);
        assert_eq!(points(3, "198.18.2.1"), [Exchange, IspB]);
        assert_eq!(points(0, "198.19.10.10"), [IspA, Border, Inbound]);
        assert_eq!(points(1, "198.19.10.10"), [IspA, Border, Inbound]);
        assert_eq!(points(4, "198.18.2.1"), [Border, Inbound, IspB]);
        assert_eq!(points(4, "198.18.100.10"), [Border, Inbound]);
        assert_eq!(points(3, "198.19.10.10"), [Border, Inbound]);
        assert_eq!(points(4, "198.19.10.10"), []);
    }

    #[test]
    fn what_a_censor_injects_takes_the_rest_of_the_way() {
        let mut routes = routes();
        let mut from = |point, to: &str| {
            routes.path(Spot::at(point), None, to.parse().unwrap()).unwrap().to_vec()
        };
        let last = |host| [Hop::Link(2 * host + 1), Hop::Host(host)];
        assert_eq!(from(Point::IspA, "198.18.1.1"), last(0));
        assert_eq!(
            from(Point::Border, "198.18.2.1")[1..],
            [&[Hop::Point(Point::IspB)][..], &last(2)].concat()
        );
        assert_eq!(from(Point::Border, "198.19.10.10")[1..], last(4));
    }
}
