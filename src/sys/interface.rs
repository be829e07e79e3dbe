//! A network interface: its address and its routes (netdevice(7), rtnetlink's older way).
#![allow(unsafe_code)]

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;

/// An interface of this network namespace.
#[derive(Debug)]
pub struct Interface {
    name: String,
    /// Any socket will do to talk about interfaces.
    socket: UdpSocket,
}

impl Interface {
    /// The interface of this name.
    ///
    /// # Errors
    /// There is none, or a socket cannot be had.
    pub fn named(name: &str) -> io::Result<Interface> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        let interface = Interface { name: name.to_owned(), socket };
        interface.ask(libc::SIOCGIFFLAGS)?;
        Ok(interface)
    }

    /// Switches it on.
    ///
    /// # Errors
    /// ioctl(2)'s.
    pub fn bring_up(&self) -> io::Result<()> {
        let mut request = self.ask(libc::SIOCGIFFLAGS)?;
        // SAFETY: SIOCGIFFLAGS has filled this member of the union.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as libc::c_short;
        self.tell(libc::SIOCSIFFLAGS, &mut request)
    }

    /// Its hardware address.
    ///
    /// # Errors
    /// ioctl(2)'s.
    pub fn hardware_address(&self) -> io::Result<[u8; 6]> {
        let request = self.ask(libc::SIOCGIFHWADDR)?;
        // SAFETY: SIOCGIFHWADDR has filled this member of the union.
        let address = unsafe { request.ifr_ifru.ifru_hwaddr };
        let mut bytes = [0; 6];
        for (to, from) in bytes.iter_mut().zip(address.sa_data) {
            *to = from as u8;
        }
        Ok(bytes)
    }

    /// Gives it an address.
    ///
    /// # Errors
    /// ioctl(2)'s.
    pub fn set_address(&self, address: Ipv4Addr, mask: Ipv4Addr) -> io::Result<()> {
        let mut request = self.request();
        request.ifr_ifru.ifru_addr = socket_address(address);
        self.tell(libc::SIOCSIFADDR, &mut request)?;
        let mut request = self.request();
        request.ifr_ifru.ifru_netmask = socket_address(mask);
        self.tell(libc::SIOCSIFNETMASK, &mut request)
    }

    /// Takes its address away, and with it all its routes.
    ///
    /// # Errors
    /// ioctl(2)'s.
    pub fn clear_address(&self) -> io::Result<()> {
        let mut request = self.request();
        request.ifr_ifru.ifru_addr = socket_address(Ipv4Addr::UNSPECIFIED);
        self.tell(libc::SIOCSIFADDR, &mut request)
    }

    /// Makes it the way to everywhere, by a router or directly. One that is there is no error.
    ///
    /// # Errors
    /// ioctl(2)'s.
    pub fn add_route(&self, router: Option<Ipv4Addr>) -> io::Result<()> {
        match self.change_route(libc::SIOCADDRT, router) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            other => other,
        }
    }

    /// Takes the direct way to everywhere away. One that is not there is no error.
    ///
    /// # Errors
    /// ioctl(2)'s.
    pub fn remove_direct_route(&self) -> io::Result<()> {
        match self.change_route(libc::SIOCDELRT, None) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            other => other,
        }
    }

    fn change_route(&self, what: libc::Ioctl, router: Option<Ipv4Addr>) -> io::Result<()> {
        let device = std::ffi::CString::new(self.name.as_str())?;
        // SAFETY: rtentry is numbers, addresses and pointers, for which zeros are valid.
        let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
        route.rt_dst = socket_address(Ipv4Addr::UNSPECIFIED);
        route.rt_genmask = socket_address(Ipv4Addr::UNSPECIFIED);
        route.rt_flags = libc::RTF_UP;
        if let Some(router) = router {
            route.rt_gateway = socket_address(router);
            route.rt_flags |= libc::RTF_GATEWAY;
        }
        route.rt_dev = device.as_ptr().cast_mut();
        // SAFETY: the kernel reads an rtentry, and the name that it points to, which lives until
        // the end of this function.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), what, &raw const route) };
        if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Has a socket send and receive by this interface alone, with or without routes.
    ///
    /// # Errors
    /// setsockopt(2)'s.
    pub fn confine(&self, socket: &UdpSocket) -> io::Result<()> {
        // SAFETY: setsockopt(2) reads as many bytes of the name as are told.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_BINDTODEVICE,
                self.name.as_ptr().cast(),
                self.name.len() as libc::socklen_t,
            )
        };
        if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn request(&self) -> libc::ifreq {
        // SAFETY: ifreq is a name and a union of numbers and addresses, for which zeros are valid.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // The last byte stays zero: the end of the name.
        let room = request.ifr_name.len() - 1;
        for (to, from) in request.ifr_name[..room].iter_mut().zip(self.name.bytes()) {
            *to = from as libc::c_char;
        }
        request
    }

    fn ask(&self, what: libc::Ioctl) -> io::Result<libc::ifreq> {
        let mut request = self.request();
        self.tell(what, &mut request)?;
        Ok(request)
    }

    fn tell(&self, what: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: these requests of netdevice(7) read and write one ifreq.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), what, &raw mut *request) };
        if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// An address as the older calls want it: sockaddr_in in the clothes of sockaddr.
fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    // SAFETY: sockaddr is a number and bytes, for which zeros are valid.
    let mut out: libc::sockaddr = unsafe { std::mem::zeroed() };
    out.sa_family = libc::AF_INET as libc::sa_family_t;
    // Behind the port, two bytes, as ip(7) lays sockaddr_in out.
    for (to, from) in out.sa_data[2..6].iter_mut().zip(address.octets()) {
        *to = from as libc::c_char;
    }
    out
}
