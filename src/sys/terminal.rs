//! The host's terminal: its settings as bytes that can travel, its size, raw mode and the way back.
//!
//! The settings before raw mode are also kept in a static, so that a panic hook (the program
//! aborts on panic, guards do not run) can put them back.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;

use rustix::fs::{Mode, OFlags};

/// Rows and columns in characters, and the same in pixels (zero where unknown).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Columns, in characters.
    pub columns: u16,
    /// Rows, in characters.
    pub rows: u16,
    /// Width in pixels.
    pub x_pixels: u16,
    /// Height in pixels.
    pub y_pixels: u16,
}

/// How many control characters travel; Linux has 19 (`NCCS` in asm-generic/termbits.h).
pub const CONTROL_CHARACTERS: usize = 19;

/// The settings of a terminal (termios(3)), as the numbers of Linux's generic ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// c_iflag, c_oflag, c_cflag, c_lflag.
    pub flags: [u32; 4],
    /// c_cc.
    pub characters: [u8; CONTROL_CHARACTERS],
}

impl Settings {
    /// Whether output has `\n` turned into `\r\n`.
    pub fn adds_carriage_returns(&self) -> bool {
        self.flags[1] & (libc::OPOST | libc::ONLCR) == libc::OPOST | libc::ONLCR
    }

    /// Whether output is treated at all; else the program places the cursor itself.
    pub fn processes_output(&self) -> bool {
        self.flags[1] & libc::OPOST != 0
    }

    /// Whether keys are handed out by whole lines, and a character for the end of file is one.
    pub fn is_line_wise(&self) -> bool {
        self.flags[3] & libc::ICANON != 0
    }

    /// Whether a program waits for single keys or hides what is typed: not the line-editing,
    /// echoing mode that shells leave a terminal in.
    pub fn is_line_mode(&self) -> bool {
        let wanted = libc::ICANON | libc::ECHO | libc::ISIG;
        self.flags[3] & wanted == wanted
    }
}

fn get(fd: BorrowedFd<'_>) -> io::Result<libc::termios> {
    // SAFETY: an all-zero termios is valid, and tcgetattr(3) fills it or fails.
    unsafe {
        let mut termios: libc::termios = std::mem::zeroed();
        match libc::tcgetattr(fd.as_raw_fd(), &raw mut termios) {
            0 => Ok(termios),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

fn set(fd: BorrowedFd<'_>, termios: &libc::termios) -> io::Result<()> {
    loop {
        // SAFETY: `termios` is a whole, initialised struct that tcsetattr(3) only reads. TCSADRAIN
        // is not used: it waits for ever on a terminal whose output is stopped.
        if unsafe { libc::tcsetattr(fd.as_raw_fd(), libc::TCSANOW, termios) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Reads a terminal's settings. On the master of a pty these are the slave's.
///
/// # Errors
/// tcgetattr(3)'s: not a terminal, or one that hung up.
pub fn settings(fd: impl AsFd) -> io::Result<Settings> {
    let termios = get(fd.as_fd())?;
    let mut characters = [0; CONTROL_CHARACTERS];
    characters.copy_from_slice(&termios.c_cc[..CONTROL_CHARACTERS]);
    let flags = [termios.c_iflag, termios.c_oflag, termios.c_cflag, termios.c_lflag];
    Ok(Settings { flags, characters })
}

/// Gives a terminal these settings; its speed stays as it is.
///
/// # Errors
/// tcsetattr(3)'s.
pub fn apply(fd: impl AsFd, settings: &Settings) -> io::Result<()> {
    let mut termios = get(fd.as_fd())?;
    [termios.c_iflag, termios.c_oflag, termios.c_cflag, termios.c_lflag] = settings.flags;
    termios.c_cc[..CONTROL_CHARACTERS].copy_from_slice(&settings.characters);
    set(fd.as_fd(), &termios)
}

/// A terminal's size.
///
/// # Errors
/// ioctl(2)'s.
pub fn size(fd: impl AsFd) -> io::Result<Size> {
    let size = rustix::termios::tcgetwinsize(fd)?;
    Ok(Size {
        columns: size.ws_col,
        rows: size.ws_row,
        x_pixels: size.ws_xpixel,
        y_pixels: size.ws_ypixel,
    })
}

/// Sets a terminal's size; the kernel sends SIGWINCH to its foreground group when it changed.
///
/// # Errors
/// ioctl(2)'s.
pub fn set_size(fd: impl AsFd, size: Size) -> io::Result<()> {
    let size = rustix::termios::Winsize {
        ws_col: size.columns,
        ws_row: size.rows,
        ws_xpixel: size.x_pixels,
        ws_ypixel: size.y_pixels,
    };
    Ok(rustix::termios::tcsetwinsize(fd, size)?)
}

/// What a panic has to put back: the descriptor and the settings before raw mode.
static SAVED: Mutex<Option<(i32, libc::termios)>> = Mutex::new(None);

/// The terminal that the user sits at, through a descriptor of our own.
#[derive(Debug)]
pub struct Terminal {
    fd: OwnedFd,
    before: Settings,
}

impl Terminal {
    /// The terminal behind the standard descriptor `fd`.
    ///
    /// # Errors
    /// When its settings cannot be read.
    pub fn new(fd: BorrowedFd<'_>) -> io::Result<Terminal> {
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        // After `su` the terminal belongs to somebody else and cannot be opened anew.
        let own = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(own) => own,
            Err(_) => rustix::io::fcntl_dupfd_cloexec(fd, 3)?,
        };
        let before = settings(&own)?;
        Ok(Terminal { fd: own, before })
    }

    /// The controlling terminal of this process.
    ///
    /// # Errors
    /// When it has none.
    pub fn controlling() -> io::Result<Terminal> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open("/dev/tty", flags, Mode::empty())?;
        let before = settings(&fd)?;
        Ok(Terminal { fd, before })
    }

    /// The settings found at the start.
    pub fn before(&self) -> &Settings {
        &self.before
    }

    /// Whether this process may change the terminal without being stopped for it: it is in the
    /// foreground group, or the terminal is not its controlling one at all.
    pub fn is_ours(&self) -> bool {
        match rustix::termios::tcgetpgrp(&self.fd) {
            Ok(foreground) => foreground == rustix::process::getpgrp(),
            Err(_) => true,
        }
    }

    /// Turns raw mode on: every key passes untouched, and with `raw_output` every byte of output too
    /// (cfmakeraw(3)). Without it others may go on writing lines to this terminal. What the settings
    /// are when raw mode begins is what `restore` returns to: the shell may have changed them while
    /// we were stopped.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn make_raw(&mut self, raw_output: bool) -> io::Result<()> {
        let mut saved = lock();
        let before = match *saved {
            Some((_, before)) => before,
            None => get(self.fd.as_fd())?,
        };
        let mut raw = before;
        // SAFETY: cfmakeraw(3) changes the initialised struct that it is given, nothing else.
        unsafe { libc::cfmakeraw(&raw mut raw) };
        raw.c_cc[libc::VMIN] = 1;
        raw.c_cc[libc::VTIME] = 0;
        if !raw_output {
            raw.c_oflag = before.c_oflag;
        }
        set(self.fd.as_fd(), &raw)?;
        *saved = Some((self.fd.as_raw_fd(), before));
        Ok(())
    }

    /// Puts the settings back as they were before raw mode; does nothing when raw mode is off, or
    /// when the terminal has become somebody else's: then its shell has set it up for itself.
    pub fn restore(&mut self) {
        if self.is_ours() {
            restore_saved();
        } else {
            lock().take();
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.restore();
    }
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn lock() -> std::sync::MutexGuard<'static, Option<(i32, libc::termios)>> {
    SAVED.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Whether our terminal is in raw mode now, where a line feed may not return the carriage.
pub fn is_raw() -> bool {
    lock().is_some()
}

/// Puts the terminal back if raw mode is on; for the panic hook, which has no `Terminal` at hand.
pub fn restore_saved() {
    if let Some((fd, termios)) = lock().take() {
        // SAFETY: the descriptor belongs to the `Terminal` that stored it, which takes it out of
        // the static before it closes.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let _terminal_may_be_gone = set(fd, &termios);
    }
}
