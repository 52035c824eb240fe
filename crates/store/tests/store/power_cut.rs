//! After a power cut at any moment, all that was acknowledged is there and whole.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use busel_store::Store;

use crate::fault::FaultDisk;
use crate::support::*;

const DIR: &str = "/store";

/// What the store must hold: the last acknowledged state of each thing, and the states that an
/// operation under way at the cut may have brought.
#[derive(Debug, Default)]
struct Promise {
    pages: BTreeMap<String, Vec<Option<Vec<u8>>>>,
    settings: BTreeMap<String, Vec<Option<Vec<u8>>>>,
}

/// One step of a run; `Err` when the power is out.
fn step(store: &Store, dice: &mut Dice, promise: &mut Promise, age: u64) -> Result<(), String> {
    let name = format!("n{}", dice.below(6));
    let page = promise.pages.entry(name.clone()).or_insert_with(|| vec![None]);
    let setting = promise.settings.entry(name.clone()).or_insert_with(|| vec![None]);
    match dice.below(8) {
        0..=3 => {
            let len = [0, 3000, 16_384, 16_385, 140_000][usize::try_from(dice.below(5)).unwrap()];
            let body = body(dice.below(4), len);
            page.push(Some(body.clone()));
            put(store, &name, &body, age).map_err(|e| e.to_string())?;
            *page = vec![Some(body)];
        }
        4 => {
            page.push(None);
            store.remove(&key(&name)).map_err(|e| e.to_string())?;
            *page = vec![None];
        }
        5 => {
            store.touch(&key(&name), NOW);
            store.pin(&key(&name), dice.below(2) == 0).map_err(|e| e.to_string())?;
        }
        6 => {
            let value = body(dice.below(100), usize::try_from(dice.below(9000)).unwrap());
            setting.push(Some(value.clone()));
            store.set(&name, &value).map_err(|e| e.to_string())?;
            *setting = vec![Some(value)];
        }
        _ => {
            setting.push(None);
            store.unset(&name).map_err(|e| e.to_string())?;
            *setting = vec![None];
        }
    }
    Ok(())
}

/// Runs until the work is done or the power is out.
fn run(disk: &FaultDisk, dice: &mut Dice, promise: &mut Promise, start: u64) -> Result<(), String> {
    let store = Store::open_on(Arc::new(disk.clone()), options(Path::new(DIR)))
        .map_err(|e| e.to_string())?;
    for n in 0..14 {
        step(&store, dice, promise, start + n)?;
    }
    Ok(())
}

fn check(disk: &FaultDisk, promise: &mut Promise, case: &str) {
    let store = Store::open_on(Arc::new(disk.clone()), options(Path::new(DIR)))
        .unwrap_or_else(|e| panic!("{case}: {e}"));
    for (name, states) in &mut promise.pages {
        let found = stored(&store, name);
        assert!(states.contains(&found), "{case}: {name}: {:?}", found.map(|f| f.len()));
        *states = vec![found];
    }
    for (name, states) in &mut promise.settings {
        let found = store.setting(name).unwrap();
        assert!(states.contains(&found), "{case}: setting {name}");
        *states = vec![found];
    }
    let mut large: Vec<_> =
        promise.pages.values().filter_map(|states| states[0].as_ref()).collect();
    large.retain(|body| body.len() > 16_384);
    large.sort();
    large.dedup();
    let files = disk.files_below(Path::new("/store/blobs"));
    assert_eq!(files.len(), large.len(), "{case}: no file is left over");
}

#[test]
fn what_was_acknowledged_survives_a_cut_at_any_moment() {
    let whole = FaultDisk::default();
    run(&whole, &mut Dice(0), &mut Promise::default(), 0).unwrap();
    let operations = whole.operations();
    for seed in 0..200 {
        let (mut dice, mut promise) = (Dice(seed), Promise::default());
        let mut disk = FaultDisk::default();
        // Cut three times in a row, so that recoveries are cut too.
        for round in 0..3 {
            let longest = if round == 1 { operations / 4 } else { operations * 5 / 4 };
            disk.cut_after(1 + dice.below(longest));
            let done = run(&disk, &mut dice, &mut promise, 100 * round);
            assert!(done.is_ok() || disk.is_cut(), "seed {seed}: {done:?}");
            disk = disk.survive(&mut dice);
            if round != 0 {
                check(&disk, &mut promise, &format!("seed {seed}, cut {round}"));
            }
        }
        run(&disk, &mut dice, &mut promise, 1000).expect("the store goes on");
    }
}

#[test]
fn creation_can_be_cut_at_any_moment() {
    let whole = FaultDisk::default();
    drop(Store::open_on(Arc::new(whole.clone()), options(Path::new(DIR))).unwrap());
    for cut in 1..=whole.operations() {
        for seed in 0..8 {
            let disk = FaultDisk::default();
            disk.cut_after(cut);
            drop(Store::open_on(Arc::new(disk.clone()), options(Path::new(DIR))));
            let disk = disk.survive(&mut Dice(cut << 8 | seed));
            let store = Store::open_on(Arc::new(disk), options(Path::new(DIR)))
                .unwrap_or_else(|e| panic!("cut {cut}, seed {seed}: {e}"));
            put(&store, "a", &body(1, 20_000), 0).unwrap();
            assert_eq!(stored(&store, "a").unwrap(), body(1, 20_000));
        }
    }
}

#[test]
fn what_many_threads_were_told_survives_a_cut() {
    for seed in 0..60 {
        let (mut dice, disk) = (Dice(1000 + seed), FaultDisk::default());
        let store = Store::open_on(Arc::new(disk.clone()), options(Path::new(DIR))).unwrap();
        disk.cut_after(1 + dice.below(400));
        let told = std::sync::Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let (store, told) = (&store, &told);
                scope.spawn(move || {
                    for n in 0..30 {
                        let (path, seed) = (format!("{thread}/{n}"), thread * 100 + n);
                        let body = body(seed, [2000, 20_000][usize::from(seed % 2 == 0)]);
                        if put(store, &path, &body, 0).is_err() {
                            break;
                        }
                        told.lock().unwrap().push((path, body));
                    }
                });
            }
        });
        drop(store);
        let disk = disk.survive(&mut dice);
        let store = Store::open_on(Arc::new(disk), options(Path::new(DIR))).unwrap();
        for (path, body) in told.into_inner().unwrap() {
            assert_eq!(stored(&store, &path).unwrap(), body, "seed {seed}, {path}");
        }
        for key in store.keys().unwrap() {
            let found = store.find(&key).unwrap().unwrap();
            let reader = store.reader(&found.root).unwrap().unwrap();
            assert_eq!(by_windows(&reader).len() as u64, found.len, "seed {seed}");
        }
    }
}
