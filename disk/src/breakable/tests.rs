//! Claims about each fault, with the control file changed while the disk is in use; and that without one, and without a kill,
//! nobody can tell the disk from another.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rustix::io::Errno;
use tempfile::TempDir;

use crate::breakable::BreakableDisk;
use crate::disk::{Disk, File};
use crate::faulty::FaultyDisk;
use crate::real::RealDisk;
use crate::replay::histories;
use crate::stream::{AppendError, Options, Stream};
use crate::testing::{DEADLINE, Noting, Plain, records};

/// A disk that obeys, and its control file.
struct Broken {
    dir: TempDir,
    disk: Arc<BreakableDisk>,
}

impl Broken {
    fn new(orders: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory for tests");
        fs::create_dir(dir.path().join("data")).expect("made");
        fs::write(dir.path().join("orders"), orders).expect("written");
        let disk = BreakableDisk::new(dir.path().join("orders")).expect("it watches");
        Self { dir, disk: Arc::new(disk) }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.data().join(name)
    }

    /// Writes a control file and returns when it is obeyed; not to be asked for the same twice.
    fn order(&self, orders: &str) {
        let before = self.disk.0.control.changes();
        self.put(orders);
        wait_until(|| self.disk.0.control.changes() > before);
    }

    /// Puts it in place whole.
    fn put(&self, orders: &str) {
        let new = self.dir.path().join("orders.new");
        fs::write(&new, orders).expect("written");
        fs::rename(new, self.dir.path().join("orders")).expect("in place");
    }

    /// What a power cut would leave of it.
    fn left(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).expect("its name is there")
    }
}

fn wait_until(condition: impl Fn() -> bool) {
    let (_sender, receiver) = mpsc::channel::<()>();
    for _ in 0..DEADLINE.as_millis() {
        if condition() {
            return;
        }
        let _ = receiver.recv_timeout(Duration::from_millis(1));
    }
    panic!("it comes true in time");
}

fn bytes_of(file: &dyn File) -> Vec<u8> {
    let mut bytes = vec![0xee; usize::try_from(file.len().expect("its length")).expect("short") + 10];
    let read = file.read_at(&mut bytes, 0).expect("readable");
    bytes.truncate(read);
    bytes
}

fn is(errno: Errno, outcome: std::io::Result<()>) -> bool {
    outcome.is_err_and(|error| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Runs it on a thread; the receiver hears when it is done.
fn in_background(run: impl FnOnce() + Send + 'static) -> mpsc::Receiver<()> {
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || {
        run();
        let _ = done.send(());
    });
    ended
}

#[test]
fn a_slow_disk_is_slow_until_that_is_taken_back() {
    let broken = Broken::new("");
    let file = broken.disk.create(&broken.path("file")).expect("made");
    broken.order("slow = '1h'");
    let mut buf = [0; 4];
    assert_eq!(file.read_at(&mut buf, 0).expect("reads are not slow"), 0);
    let writing = {
        let file = Arc::clone(&file);
        in_background(move || file.write_all_at(b"slow", 0).expect("written"))
    };
    assert!(writing.recv_timeout(Duration::from_millis(50)).is_err(), "it takes an hour");
    broken.order("slow = '60ms'");
    writing.recv_timeout(DEADLINE).expect("orders changed");
    let syncing = in_background(move || file.sync_data().expect("synced"));
    assert!(syncing.recv_timeout(Duration::from_millis(20)).is_err(), "it takes longer");
    syncing.recv_timeout(DEADLINE).expect("60 ms are over");
}

#[test]
fn a_hung_disk_goes_on_where_it_was() {
    let broken = Broken::new("");
    let file = broken.disk.create(&broken.path("file")).expect("made");
    file.write_all_at(b"before", 0).expect("written");
    broken.order("hang = true");
    let calls: [Box<dyn FnOnce() + Send>; 4] = {
        let (reading, syncing) = (Arc::clone(&file), Arc::clone(&file));
        let (disk, path, data) = (Arc::clone(&broken.disk), broken.path("other"), broken.data());
        [
            Box::new(move || assert_eq!(bytes_of(reading.as_ref()), b"before")),
            Box::new(move || syncing.sync_all().expect("synced")),
            Box::new(move || drop(disk.create(&path).expect("made"))),
            {
                let disk = Arc::clone(&broken.disk);
                Box::new(move || disk.sync_dir(&data).expect("synced"))
            },
        ]
    };
    let hung = calls.map(in_background);
    for call in &hung {
        assert!(call.recv_timeout(Duration::from_millis(20)).is_err(), "it hangs");
    }
    broken.order("");
    for call in &hung {
        call.recv_timeout(DEADLINE).expect("it goes on");
    }
}

#[test]
fn a_full_disk_takes_what_was_allocated_and_nothing_else() {
    for start in ["", "forget = true\n"] {
        let broken = Broken::new(start);
        let (disk, data) = (&broken.disk, broken.data());
        let file = disk.create(&broken.path("file")).expect("made");
        file.allocate(0, 8192).expect("there is room");
        broken.order(&format!("{start}full = true"));
        assert_eq!(disk.free_bytes(&data).expect("asked"), 0);
        file.write_all_at(&[1; 8192], 0).expect("it was allocated");
        assert!(is(Errno::NOSPC, file.write_all_at(&[1; 2], 8191)));
        assert!(is(Errno::NOSPC, file.set_len(8193)));
        assert!(is(Errno::NOSPC, file.allocate(8000, 200)));
        assert!(is(Errno::NOSPC, disk.create(&broken.path("new")).map(drop)));
        assert!(is(Errno::NOSPC, disk.create_dir_all(&data.join("deep/dir"))));
        assert!(is(Errno::NOSPC, disk.lock(&broken.path("lock")).map(drop)));
        let taken = disk.create(&broken.path("file")).err().expect("it is there");
        assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
        disk.create_dir_all(&data).expect("it is there");
        file.sync_all().expect("synced");
        broken.order(start);
        file.write_all_at(&[1; 2], 8191).expect("there is room again");
        assert!(disk.free_bytes(&data).expect("asked") > 0);
    }
}

#[test]
fn every_nth_call_of_its_kind_fails() {
    let broken = Broken::new("eio = 'write'\nevery = 3");
    let file = broken.disk.create(&broken.path("file")).expect("made");
    let writes = |count: usize| -> Vec<bool> {
        (0..count).map(|at| file.write_all_at(&[7], at as u64).is_ok()).collect()
    };
    assert_eq!(writes(7), [true, true, false, true, true, false, true]);
    file.sync_data().expect("syncs do not fail");
    broken.order("eio = 'read'");
    assert_eq!(writes(3), [true; 3]);
    let refused = file.read_at(&mut [0; 1], 0).expect_err("reads fail");
    assert_eq!(refused.raw_os_error(), Some(Errno::IO.raw_os_error()));
    broken.order("eio = 'write'\nevery = 2");
    assert_eq!(writes(4), [true, false, true, false], "counted from the change on");
}

#[test]
fn a_failed_sync_loses_what_was_written_and_each_descriptor_is_told_once() {
    let broken = Broken::new("forget = true");
    let path = broken.path("file");
    let writer = broken.disk.create(&path).expect("made");
    let other = broken.disk.open(&path).expect("there");
    writer.write_all_at(b"synced--", 0).expect("written");
    writer.sync_all().expect("synced");
    writer.write_all_at(b"lost", 2).expect("written");
    other.write_all_at(b"lost too", 100).expect("written");
    broken.order("forget = true\neio = 'sync'");
    assert!(is(Errno::IO, other.sync_data()));
    broken.order("forget = true");
    assert!(is(Errno::IO, writer.sync_data()), "it was told through the other descriptor only");
    for file in [&writer, &other, &broken.disk.open(&path).expect("there")] {
        file.sync_all().expect("a later sync says nothing");
    }
    let lost = [b"synced--".as_slice(), &[0; 100]].concat();
    assert_eq!(broken.left("file"), lost);
    assert_eq!(bytes_of(writer.as_ref()), lost);
    writer.write_all_at(b"new", 0).expect("written");
    writer.sync_data().expect("synced");
    assert_eq!(broken.left("file")[..8], *b"newced--");
}

#[test]
fn what_was_not_synced_is_gone_and_seen_by_all_until_then() {
    let broken = Broken::new("forget = true");
    let path = broken.path("file");
    let file = broken.disk.create(&path).expect("made");
    file.write_all_at(b"0123456789", 0).expect("written");
    assert_eq!(broken.left("file"), b"");
    let reader = broken.disk.open_read_only(&path).expect("there");
    assert_eq!(bytes_of(reader.as_ref()), b"0123456789");
    assert!(reader.write_all_at(b"x", 0).is_err() && reader.set_len(1).is_err());
    file.sync_data().expect("synced");
    assert_eq!(broken.left("file"), b"0123456789");
    file.set_len(4).expect("cut");
    file.write_all_at(b"x", 6).expect("written");
    drop((file, reader));
    // Nobody has it open, under whatever name: it is kept back all the same.
    broken.disk.rename(&path, &broken.path("renamed")).expect("renamed");
    let reader = broken.disk.open_read_only(&broken.path("renamed")).expect("there");
    assert_eq!(bytes_of(reader.as_ref()), b"0123\0\0x");
    assert_eq!(broken.left("renamed"), b"0123456789");
    reader.sync_data().expect("synced");
    assert_eq!(broken.left("renamed"), b"0123\0\0x");
}

#[test]
fn files_that_are_gone_take_no_memory() {
    let broken = Broken::new("forget = true");
    let (path, other) = (broken.path("file"), broken.path("other"));
    let file = broken.disk.create(&path).expect("made");
    file.write_all_at(b"kept back", 0).expect("written");
    drop(file);
    drop(broken.disk.create(&other).expect("made"));
    assert_eq!(broken.disk.0.nodes.count(), 1, "nothing is kept back of the other one");
    broken.disk.rename(&other, &path).expect("renamed");
    assert_eq!(broken.disk.0.nodes.count(), 0);
    let file = broken.disk.open(&path).expect("there");
    file.write_all_at(b"kept back", 0).expect("written");
    broken.disk.remove(&path).expect("removed");
    assert_eq!(bytes_of(file.as_ref()), b"kept back");
    drop(file);
    assert_eq!(broken.disk.0.nodes.count(), 0);
}

#[test]
fn a_torn_write_leaves_some_of_its_sectors() {
    let broken = Broken::new("forget = true\ntorn = true\nseed = 7");
    let file = broken.disk.create(&broken.path("file")).expect("made");
    file.allocate(0, 64 << 10).expect("room");
    file.sync_all().expect("synced");
    let left = || broken.disk.0.nodes.frozen(|| broken.left("file"));
    for round in 1..=5 {
        file.write_all_at(&[round; 64 << 10], 0).expect("written");
        wait_until(|| left().contains(&round));
        let before = broken.disk.0.nodes.scattered();
        wait_until(|| broken.disk.0.nodes.scattered() > before + 5);
        let left = left();
        let sectors: Vec<&[u8]> = left.chunks(512).collect();
        assert!(
            sectors.iter().all(|sector| sector.iter().all(|byte| *byte == sector[0])),
            "a sector is whole"
        );
        let torn = sectors.iter().filter(|sector| sector[0] != round).count();
        assert!((30..100).contains(&torn), "{torn} of 128 wait for a sync, however long that takes");
        assert_eq!(bytes_of(file.as_ref()), [round; 64 << 10], "and all is seen");
    }
    file.sync_data().expect("synced");
    assert_eq!(broken.left("file"), [5; 64 << 10]);
}

#[test]
fn a_mistake_in_the_control_file_changes_nothing() {
    let broken = Broken::new("full = true");
    let file = broken.path("file");
    for mistake in ["full = perhaps", "fool = true", "slow = 'soon'", "eio = 'name'", "every = 0", "\u{0}"] {
        broken.put(mistake);
        // The next good one is obeyed only after this one was looked at.
        let before = broken.disk.0.control.looks();
        wait_until(|| broken.disk.0.control.looks() > before + 1);
        assert!(is(Errno::NOSPC, broken.disk.create(&file).map(drop)), "{mistake}");
    }
    fs::remove_file(broken.dir.path().join("orders")).expect("removed");
    wait_until(|| !broken.disk.0.control.is_full());
    // What counts at the start is not believed later.
    broken.order("forget = true");
    let file = broken.disk.create(&file).expect("made");
    file.write_all_at(b"at once", 0).expect("written");
    assert_eq!(broken.left("file"), b"at once");
}

/// A history of one disk and of the one it is compared with.
struct Twins {
    broken: Broken,
    model: FaultyDisk,
    rng: SmallRng,
    open: Vec<[Arc<dyn File>; 2]>,
}

impl Twins {
    fn path(&mut self) -> [PathBuf; 2] {
        let name = ["a", "b", "c"][self.rng.random_range(0..3)];
        [self.broken.path(name), Path::new("/data").join(name)]
    }

    fn opened(&mut self, files: [std::io::Result<Arc<dyn File>>; 2]) {
        match files {
            [Ok(file), Ok(model)] => self.open.push([file, model]),
            [file, model] => assert_eq!(file.err().map(|it| it.kind()), model.err().map(|it| it.kind())),
        }
    }

    fn step(&mut self) {
        let ([path, model_path], [other, model_other]) = (self.path(), self.path());
        let (disk, model) = (Arc::clone(&self.broken.disk), self.model.clone());
        match self.rng.random_range(0..24) {
            0 => self.opened([disk.create(&path), model.create(&model_path)]),
            1 => self.opened([disk.open(&path), model.open(&model_path)]),
            2 => self.opened([disk.open_read_only(&path), model.open_read_only(&model_path)]),
            3 if path != other => assert_eq!(
                disk.rename(&path, &other).is_ok(),
                model.rename(&model_path, &model_other).is_ok()
            ),
            4 => assert_eq!(disk.remove(&path).is_ok(), model.remove(&model_path).is_ok()),
            _ if self.open.is_empty() => {}
            5 | 6 => drop(self.open.swap_remove(self.rng.random_range(0..self.open.len()))),
            call => self.call(call),
        }
    }

    /// A call of one open file.
    fn call(&mut self, call: u32) {
        let files = self.open[self.rng.random_range(0..self.open.len())].clone();
        let at = self.rng.random_range(0..20_000);
        let len = self.rng.random_range(0..9_000);
        let same = |run: &dyn Fn(&dyn File) -> Option<Vec<u8>>| {
            let [file, model] = files.each_ref().map(|file| run(file.as_ref()));
            assert!(file == model, "call {call} at {at}, {len}");
        };
        let done = |outcome: std::io::Result<()>| outcome.ok().map(|()| Vec::new());
        match call {
            7..=12 => {
                let bytes = vec![self.rng.random_range(1..=u8::MAX); len];
                same(&|file| done(file.write_all_at(&bytes, at)));
            }
            13 | 14 => same(&|file| done(file.set_len(at))),
            15 => same(&|file| done(file.allocate(at, len as u64 + 1))),
            16 => same(&|file| done(file.sync_data())),
            17 => same(&|file| done(file.sync_all())),
            _ => same(&|file| {
                let mut bytes = vec![0; len];
                let read = file.read_at(&mut bytes, at).expect("readable");
                bytes.truncate(read);
                bytes.extend(file.len().expect("its length").to_le_bytes());
                let next = usize::try_from(file.next_data(at).expect("asked")).expect("short");
                let passed =
                    bytes[..read].iter().take(next.saturating_sub(usize::try_from(at).expect("short")));
                assert!(passed.copied().all(|byte| byte == 0), "only zeros are passed over");
                Some(bytes)
            }),
        }
    }
}

#[test]
fn what_is_kept_back_is_seen_as_if_it_were_not() {
    let test = "what_is_kept_back_is_seen_as_if_it_were_not";
    for replay in histories(env!("CARGO_PKG_NAME"), test, 30) {
        let start = ["", "forget = true", "forget = true\ntorn = true"][replay.seed() as usize % 3];
        let model = FaultyDisk::new(1);
        model.create_dir_all(Path::new("/data")).expect("made");
        let rng = SmallRng::seed_from_u64(replay.seed());
        let mut twins = Twins { broken: Broken::new(start), model, rng, open: Vec::new() };
        for _ in 0..600 {
            twins.step();
        }
        // And once all is synced, the real disk has it.
        for [file, model] in &twins.open {
            assert_eq!((file.sync_all().is_ok(), model.sync_all().is_ok()), (true, true));
        }
        twins.open.clear();
        for name in ["a", "b", "c"] {
            let Some(bytes) = twins.model.bytes(&Path::new("/data").join(name)) else { continue };
            let file = twins.broken.disk.open_read_only(&twins.broken.path(name)).expect("there");
            file.sync_data().expect("synced");
            assert!(twins.broken.left(name) == bytes, "{name}");
        }
    }
}

/// What a kill in this moment would leave.
fn power_cut(broken: &Broken, to: &Path) {
    fs::create_dir_all(to).expect("made");
    broken.disk.0.nodes.frozen(|| {
        for name in RealDisk.list(&broken.data()).expect("readable") {
            fs::copy(broken.path(&name), to.join(&name)).expect("copied");
        }
    });
}

#[test]
fn acked_records_of_a_stream_outlive_a_kill() {
    let mut lost = 0;
    for replay in histories(env!("CARGO_PKG_NAME"), "acked_records_of_a_stream_outlive_a_kill", 6) {
        lost += lost_by_kills(replay.seed());
    }
    assert!(lost > 0, "a kill never took anything: nothing was kept back");
}

/// How many records that were not acked are gone after kills in one history.
fn lost_by_kills(seed: u64) -> usize {
    let mut rng = SmallRng::seed_from_u64(seed);
    let broken = Broken::new("forget = true\ntorn = true");
    let options = |dir: PathBuf| Options {
        file_bytes: 64 << 10,
        zero_ahead_bytes: 16 << 10,
        reserve_bytes: 0,
        ..Options::new(dir, "log")
    };
    let disk: Arc<dyn Disk> = Arc::<BreakableDisk>::clone(&broken.disk);
    let stream = Stream::<Plain>::open(disk, options(broken.data()), Noting::default()).expect("it opens");
    let (mut submitted, acked) = (Vec::new(), Arc::new(AtomicUsize::new(0)));
    let mut lost = 0;
    for cut in 0..10 {
        for _ in 0..rng.random_range(1..20) {
            let body = vec![rng.random(); rng.random_range(1..5000)];
            let acked = Arc::clone(&acked);
            let told = move |outcome: Result<_, AppendError>| {
                outcome.expect("it is acked");
                acked.fetch_add(1, Ordering::SeqCst);
            };
            stream.submit(records(&[&body]), told).expect("the queue has room");
            submitted.push(body);
        }
        let some = rng.random_range(acked.load(Ordering::SeqCst)..=submitted.len());
        wait_until(|| acked.load(Ordering::SeqCst) >= some);
        let left = broken.dir.path().join(format!("left-{cut}"));
        let acked_before = acked.load(Ordering::SeqCst);
        power_cut(&broken, &left);
        let owner = Noting::default();
        drop(Stream::<Plain>::open(Arc::new(RealDisk), options(left), owner.clone()).expect("it opens"));
        let found = owner.bodies();
        assert!(found.len() >= acked_before, "{} of {acked_before} acked are left", found.len());
        assert!(found == submitted[..found.len()], "what is left is what was written, in order");
        assert_eq!(owner.notes.lock().damaged, []);
        lost += submitted.len() - found.len();
    }
    lost
}
