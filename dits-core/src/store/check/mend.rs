//! Taking what is good out of damaged packs.
//!
//! **For:** `git dits fsck --repair` and `ditsd fsck --repair`.
//!
//! **May touch:** new packs, and the names of damaged ones: `damaged/` takes those that nothing needs any more.
//!
//! **Must hold:**
//! - only bytes that hash to an item's name are written, under that name;
//! - no file is removed, and none is set aside before all that is good in it is in another pack, and synced;
//! - a pack of a later version, and one that the disk does not give, stays as it is.
//!
//! **Format:** `docs/formats/store-v1.md`, "Damaged packs".

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::finding::Problem;
use super::forward::Forward;
use super::records::{PIECE_ENTRIES, Records};
use crate::codec::Decoder;
use crate::hash::{PackHash, parse_hex};
use crate::item::{ItemId, ItemKind};
use crate::pack_format::{Domain, ENTRY_LEN, Entry, LogHeader, StoredCheck, TRAILER_LEN, Trailer};
use crate::store::error::{StoreError, WriteError};
use crate::store::layout::{OpenName, is_absent, parse_hex16, sync_dir};
use crate::store::open_pack::lock_named;
use crate::store::pack::Pack;
use crate::store::writer::{NewItem, PackWriter};
use crate::store::{Store, lock};

/// What is known of the files whose items a damaged pack may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// All of them are whole without it.
    Whole,
    /// Some are not: what cannot be read now may be all that there is.
    Wanting,
}

/// What became of damaged packs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mended {
    /// Items that only a damaged pack had, and that are in another one now.
    pub saved_items: u64,
    /// Packs that have their own name again.
    pub renamed: Vec<PathBuf>,
    /// Where packs are now that nothing needs any more.
    pub set_aside: Vec<PathBuf>,
    /// Packs that stay as they are.
    pub left: Vec<PathBuf>,
}

/// The two kinds of a pack, by the name of its file.
enum Name {
    Sealed(PackHash),
    Open(OpenName),
}

/// What became of one damaged pack.
enum Fate {
    /// It is there no more, or mended.
    Gone,
    Renamed(PathBuf),
    SetAside(PathBuf),
    Left,
}

/// What was found while a pack's items were copied.
#[derive(Default)]
struct Copied {
    saved: u64,
    /// Entries that are nowhere else, or of which that cannot be told.
    lost: u64,
    /// Damaged entries: a later one of the same pack may be a good copy.
    damaged: Vec<Entry>,
}

impl Store {
    /// Takes out of these packs all that is good and in no other one, and sets aside those of which the rest is
    /// elsewhere, or not needed. The paths are those of findings.
    ///
    /// # Errors
    ///
    /// [`WriteError`] if nothing can be written. What was done stays done.
    pub fn mend_packs(
        &self,
        paths: &[PathBuf],
        rest: Rest,
        is_ours: &dyn Fn(Domain) -> bool,
    ) -> Result<Mended, WriteError> {
        // That another pack has an item is relied on until this one is set aside.
        let _guard = self.guard()?;
        let mut mended = Mended::default();
        // What is found elsewhere has to stay there until the pack is out of the way.
        let _guard = self.guard()?;
        let mut seen = HashSet::new();
        for path in paths {
            let path = path.with_extension("pack");
            if !seen.insert(path.clone()) {
                continue;
            }
            let fate = match name_of(&path) {
                Some(Name::Sealed(hash)) => self.mend_sealed(&path, &hash, rest, is_ours, &mut mended.saved_items)?,
                Some(Name::Open(name)) => self.mend_open(&path, &name, rest, is_ours, &mut mended.saved_items)?,
                None => Fate::Gone,
            };
            match fate {
                Fate::Gone => {}
                Fate::Renamed(to) => mended.renamed.push(to),
                Fate::SetAside(to) => mended.set_aside.push(to),
                Fate::Left => mended.left.push(path),
            }
        }
        lock(&self.handles).clear();
        self.refresh()?;
        Ok(mended)
    }

    fn mend_sealed(
        &self,
        path: &Path,
        hash: &PackHash,
        rest: Rest,
        is_ours: &dyn Fn(Domain) -> bool,
        saved: &mut u64,
    ) -> Result<Fate, WriteError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if is_absent(&error) => return Ok(Fate::Gone),
            Err(_) => return Ok(Fate::Left),
        };
        let records = match Records::of_sealed(&file, hash) {
            Ok(records) => Some(records),
            Err(Problem::OtherName(own)) => return self.rename(path, &own),
            Err(Problem::NotRead(_) | Problem::UnknownVersion(_)) => None,
            Err(_) => guess(&file).map(|trailer| Records::Table { file: &file, trailer }),
        };
        let domain = records.as_ref().and_then(|records| domain_of(records.domain(), is_ours));
        let (Some(records), Some(domain)) = (records, domain) else { return Ok(Fate::Left) };
        let copied = self.copy_good(path, &file, &records, domain)?;
        *saved += copied.saved;
        // The same items in another pack have the same name: then it is mended in its place.
        match is_at(&file, path) {
            false => Ok(Fate::Gone),
            true if copied.lost > 0 && rest == Rest::Wanting => Ok(Fate::Left),
            true => self.set_aside(&[path]),
        }
    }

    fn mend_open(
        &self,
        path: &Path,
        name: &OpenName,
        rest: Rest,
        is_ours: &dyn Fn(Domain) -> bool,
        saved: &mut u64,
    ) -> Result<Fate, WriteError> {
        let log_path = self.layout.open_log(name);
        let (Ok(file), Ok(log)) = (File::open(path), File::open(&log_path)) else {
            return Ok(if path.exists() { Fate::Left } else { Fate::Gone });
        };
        if !lock_named(&log, &log_path)? {
            return Ok(Fate::Left);
        }
        let records = match Records::of_open(&log, name) {
            Ok(records) => Some(records),
            Err(Problem::NotRead(_) | Problem::UnknownVersion(_)) => None,
            // The records say by themselves, with the pack's name, whether they are good.
            Err(_) => log.metadata().ok().map(|metadata| {
                let header = LogHeader { domain: Domain::LOCAL, name: *name };
                Records::Log { log: &log, header, count: Pack::record_count(metadata.len()) }
            }),
        };
        let domain = records.as_ref().and_then(|records| domain_of(records.domain(), is_ours));
        let (Some(records), Some(domain)) = (records, domain) else { return Ok(Fate::Left) };
        let copied = self.copy_good(path, &file, &records, domain)?;
        *saved += copied.saved;
        match copied.lost > 0 && rest == Rest::Wanting {
            true => Ok(Fate::Left),
            // The log first: one without its pack is taken for left over, and removed.
            false => self.set_aside(&[&log_path, path, &self.layout.doubt(name)]),
        }
    }

    /// Gives a whole pack its own name.
    fn rename(&self, path: &Path, own: &PackHash) -> Result<Fate, WriteError> {
        let to = self.layout.sealed_pack(own);
        if to.exists() {
            return self.set_aside(&[path]);
        }
        fs::rename(path, &to).map_err(|source| WriteError::io(&to, source))?;
        let dir = self.layout.packs();
        sync_dir(&dir).map_err(|source| WriteError::io(&dir, source))?;
        lock(&self.handles).clear();
        self.refresh()?;
        Ok(Fate::Renamed(to))
    }

    /// Writes the good items of a pack that no other one has into another one.
    fn copy_good(&self, path: &Path, file: &File, records: &Records<'_>, domain: Domain) -> Result<Copied, WriteError> {
        let end = file.metadata().map_err(|source| StoreError::io(path, source))?.len();
        let mut copying = Copying {
            store: self,
            domain,
            own: HashSet::from([path.to_owned()]),
            forward: Forward::new(file, end, Vec::new()),
            decoder: Decoder::new(),
            plain: Vec::new(),
            writer: self.writer(domain),
            copied: Copied::default(),
        };
        let (mut from, mut bytes) = (0, Vec::new());
        while from < records.count() {
            let to = records.count().min(from + PIECE_ENTRIES);
            match records.entries(from, to, &mut bytes) {
                Ok(entries) => entries.iter().try_for_each(|entry| copying.entry(entry.as_ref()))?,
                Err(_) => copying.copied.lost += u64::from(to - from),
            }
            from = to;
        }
        copying.writer.sync()?;
        self.sync()?;
        let Copying { own, mut copied, .. } = copying;
        for entry in std::mem::take(&mut copied.damaged) {
            copied.lost += u64::from(!self.has_beside(&entry, domain, &own)?);
        }
        Ok(copied)
    }

    /// Moves the files of a pack into `damaged/`.
    fn set_aside(&self, files: &[&Path]) -> Result<Fate, WriteError> {
        let dir = self.layout.damaged();
        fs::create_dir_all(&dir).map_err(|source| WriteError::io(&dir, source))?;
        let mut pack = None;
        for path in files {
            let to = free_name(&dir, path);
            match fs::rename(path, &to) {
                Ok(()) if path.extension().is_some_and(|end| end == "pack") => pack = Some(to),
                Ok(()) => {}
                Err(error) if is_absent(&error) => {}
                Err(source) => return Err(WriteError::io(path, source)),
            }
        }
        let changed = files.iter().filter_map(|path| path.parent()).chain([dir.as_path()]);
        for dir in changed {
            sync_dir(dir).map_err(|source| WriteError::io(dir, source))?;
        }
        Ok(pack.map_or(Fate::Gone, Fate::SetAside))
    }
}

struct Copying<'a> {
    store: &'a Store,
    domain: Domain,
    /// The pack that is copied from.
    own: HashSet<PathBuf>,
    forward: Forward<'a>,
    decoder: Decoder,
    plain: Vec<u8>,
    writer: PackWriter<'a>,
    copied: Copied,
}

impl Copying<'_> {
    fn entry(&mut self, entry: Option<&Entry>) -> Result<(), WriteError> {
        let Some(entry) = entry else {
            self.copied.lost += 1;
            return Ok(());
        };
        let Some(id) = self.good_id(entry) else {
            self.copied.damaged.push(*entry);
            return Ok(());
        };
        let entry = Entry { id, ..*entry };
        if self.store.has_beside(&entry, self.domain, &self.own)? {
            return Ok(());
        }
        let Ok(stored) = self.forward.get(entry.place, entry.stored_len as usize) else { return Ok(()) };
        let Entry { id, codec, plain_len, .. } = entry;
        match self.writer.put(NewItem { id, codec, plain_len, stored }) {
            Ok(()) => self.copied.saved += 1,
            // A manifest that is none.
            Err(WriteError::Malformed(_)) => self.copied.lost += 1,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// What the bytes of an entry are, if they are whole. A name that is not theirs is made anew from the bytes.
    fn good_id(&mut self, entry: &Entry) -> Option<ItemId> {
        let stored = self.forward.get(entry.place, entry.stored_len as usize).ok()?;
        let is_as_written = StoredCheck::of(stored) == entry.check;
        self.decoder.decode(entry.codec, stored, entry.plain_len as usize, &mut self.plain).ok()?;
        match entry.id.kind {
            _ if entry.id.names(&self.plain) => Some(entry.id),
            ItemKind::Page => None,
            kind => is_as_written.then(|| ItemId { kind, hash: *blake3::hash(&self.plain).as_bytes() }),
        }
    }
}

fn name_of(path: &Path) -> Option<Name> {
    let (dir, file) = (path.parent()?.file_name()?.to_str()?, path.file_name()?.to_str()?);
    let name = file.strip_suffix(".pack")?;
    match dir {
        "packs" => Some(Name::Sealed(PackHash::from_bytes(parse_hex(name.as_bytes()).ok()?))),
        "open" => parse_hex16(name).map(Name::Open),
        _ => None,
    }
}

/// The domain that items of a pack go into; `None` where that cannot be told.
fn domain_of(found: Domain, is_ours: &dyn Fn(Domain) -> bool) -> Option<Domain> {
    [found, Domain::LOCAL].into_iter().find(|domain| is_ours(*domain))
}

/// Where the table of a pack with a damaged trailer must be, if one of its two counts is right.
fn guess(file: &File) -> Option<Trailer> {
    let len = file.metadata().ok()?.len();
    let end = len.checked_sub(TRAILER_LEN as u64)?;
    let mut bytes = [0; TRAILER_LEN];
    file.read_exact_at(&mut bytes, end).ok()?;
    let claimed = Trailer::decode_unchecked(&bytes);
    let table_of = |count: u32| end.checked_sub(u64::from(count) * ENTRY_LEN as u64);
    let count_of = |payload_len: u64| u32::try_from(end.checked_sub(payload_len)? / ENTRY_LEN as u64).ok();
    let by_count = table_of(claimed.entry_count).map(|payload_len| Trailer { payload_len, ..claimed });
    let by_len = count_of(claimed.payload_len).map(|entry_count| Trailer { entry_count, ..claimed });
    let first = |trailer: &Trailer| {
        let records = Records::Table { file, trailer: *trailer };
        let first = records.entries(0, trailer.entry_count.min(8), &mut Vec::new()).unwrap_or_default();
        first.into_iter().map(|entry| entry.filter(|entry| entry.end() <= trailer.payload_len)).collect::<Vec<_>>()
    };
    let candidates = || [by_count, by_len].into_iter().flatten();
    // A table that is read from one of its later entries on looks well, too.
    let begins = |trailer: &Trailer| matches!(first(trailer).first(), Some(Some(entry)) if entry.place == 0);
    let looks_well = |trailer: &Trailer| first(trailer).iter().any(Option::is_some);
    candidates().find(begins).or_else(|| candidates().find(looks_well))
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(own), Ok(named)) => own.ino() == named.ino() && own.dev() == named.dev(),
        _ => false,
    }
}

/// A name in `dir` that nothing has yet.
fn free_name(dir: &Path, path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default();
    let numbered = (1_u32..).map(|number| {
        let mut numbered = name.to_owned();
        numbered.push(format!(".{number}"));
        dir.join(numbered)
    });
    let free = std::iter::once(dir.join(name)).chain(numbered).find(|path| !path.exists());
    free.unwrap_or_else(|| dir.join(name))
}
