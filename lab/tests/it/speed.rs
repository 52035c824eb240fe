//! How much the line carries. It prints figures and asserts none of them, since others use the same
//! machine.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use busel_lab::censor::{Chain, IpBlock, Names, NationalCut, SniReset};
use busel_lab::map::{Place, Point};
use busel_lab::middlebox::LinkSpec;
use busel_lab::sandbox::inside;
use busel_lab::world::Drawing;

const BYTES: usize = 64 << 20;

#[test]
fn one_connection_through_three_points() {
    inside(|| {
        let began = Instant::now();
        let quick = LinkSpec::latency(std::time::Duration::from_millis(1));
        let world = Drawing::country().trunk(Place::Abroad, quick).start()?;
        eprintln!("a world of {} hosts began in {:?}", world.hosts().len(), began.elapsed());
        let nobody = "203.0.113.0/24".parse::<ipnet::IpNet>()?;
        for point in [Point::IspA, Point::Border] {
            let chain =
                Chain::of(IpBlock::new([nobody])).then(SniReset::new(Names::new(["news.example"])));
            let chain =
                if point == Point::IspA { chain } else { chain.then(IpBlock::new([nobody])) };
            world.censor(point).set(chain);
        }
        world.censor(Point::Exchange).only(NationalCut);
        let origin = world.host("origin");
        let listener: TcpListener = origin.enter(|| TcpListener::bind("0.0.0.0:9000"))?;
        let at = SocketAddr::new(origin.v4(), 9000);
        let mut sender = world.host("home-a").enter(move || TcpStream::connect(at))?;
        let (mut receiver, _) = listener.accept()?;
        let began = Instant::now();
        let sending = std::thread::spawn(move || {
            let block = vec![7; 64 << 10];
            for _ in 0..BYTES / block.len() {
                sender.write_all(&block)?;
            }
            std::io::Result::Ok(())
        });
        let (mut buffer, mut got) = (vec![0; 64 << 10], 0);
        while let Ok(len @ 1..) = receiver.read(&mut buffer) {
            got += len;
        }
        sending.join().expect("it does not panic")?;
        assert_eq!(got, BYTES);
        let megabits = BYTES as f64 * 8.0 / 1e6 / began.elapsed().as_secs_f64();
        eprintln!("{megabits:.0} Mbit/s, {:?}", world.counters());
        Ok(())
    });
}
