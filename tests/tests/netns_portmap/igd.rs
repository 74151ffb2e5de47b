//! A UPnP gateway made of answers, for what miniupnpd never says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use btmm_tests::lab::Node;

const EVERYBODY: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);
const SERVICE: &str = "urn:schemas-upnp-org:service:WANIPConnection:1";
const TICK: Duration = Duration::from_millis(20);

/// What is answered to an action with these arguments: the answer's arguments, or an error.
pub type Script = fn(action: &str, arguments: &str) -> Result<&'static str, u16>;

/// The gateway, until it is dropped.
pub struct Igd {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Igd {
    /// Starts it at `address` of `node`.
    pub fn start(node: &Node, address: Ipv4Addr, script: Script) -> Self {
        let (search, http) = node
            .enter(|| {
                let search = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 1900)).unwrap();
                search.join_multicast_v4(&EVERYBODY, &address).unwrap();
                search.set_read_timeout(Some(TICK)).unwrap();
                let http = TcpListener::bind((address, 0)).unwrap();
                http.set_nonblocking(true).unwrap();
                (search, http)
            })
            .unwrap();
        let (over, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let location = format!("http://{}/device.xml", http.local_addr().unwrap());
        let threads = vec![
            std::thread::spawn({
                let over = over.clone();
                move || answer_searches(&search, &location, &over)
            }),
            std::thread::spawn({
                let (over, asked) = (over.clone(), asked.clone());
                move || {
                    while !over.load(Ordering::Relaxed) {
                        match http.accept() {
                            Ok((stream, _)) => drop(serve(stream, script, &asked)),
                            Err(_) => std::thread::sleep(TICK),
                        }
                    }
                }
            }),
        ];
        Self { over, threads, asked }
    }

    /// The actions so far, with their arguments.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Igd {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

fn answer_searches(socket: &UdpSocket, location: &str, over: &AtomicBool) {
    let mut bytes = [0; 1024];
    while !over.load(Ordering::Relaxed) {
        let Ok((length, asker)) = socket.recv_from(&mut bytes) else { continue };
        if bytes[..length].starts_with(b"M-SEARCH") {
            let answer = format!("HTTP/1.1 200 OK\r\nST: {SERVICE}\r\nUSN: uuid:1::{SERVICE}\r\nEXT:\r\nLOCATION: {location}\r\n\r\n");
            let _ = socket.send_to(answer.as_bytes(), asker); // the asker may have gone
        }
    }
}

/// One request of HTTP.
fn serve(mut stream: TcpStream, script: Script, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut line, mut head) = (String::new(), String::new());
    while reader.read_line(&mut line)? > 2 {
        head.push_str(&std::mem::take(&mut line));
    }
    let field =
        |name: &str| head.lines().find_map(|line| line.to_lowercase().strip_prefix(name).map(|_| line[name.len()..].trim().to_owned()));
    let mut body = vec![0; field("content-length:").and_then(|length| length.parse().ok()).unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let (status, answer) = match field("soapaction:") {
        None if head.starts_with("GET /device.xml ") => ("200 OK", device()),
        None => ("200 OK", actions()),
        Some(action) => {
            let action = action.trim_matches('"').rsplit('#').next().unwrap_or_default().to_owned();
            let arguments = String::from_utf8_lossy(&body).into_owned();
            asked.lock().unwrap().push(format!("{action} {arguments}"));
            match script(&action, &arguments) {
                Ok(values) => ("200 OK", envelope(&format!("<u:{action}Response xmlns:u=\"{SERVICE}\">{values}</u:{action}Response>"))),
                Err(code) => ("500 Internal Server Error", envelope(&fault(code))),
            }
        }
    };
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}", answer.len())
}

fn device() -> String {
    format!(
        "<?xml version=\"1.0\"?><root xmlns=\"urn:schemas-upnp-org:device-1-0\"><device><serviceList><service>\
         <serviceType>{SERVICE}</serviceType><serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId><controlURL>/control</controlURL>\
         <eventSubURL>/events</eventSubURL><SCPDURL>/actions.xml</SCPDURL></service></serviceList></device></root>"
    )
}

fn actions() -> String {
    let action = |(name, arguments): (&str, &[&str])| {
        let argument = |name: &&str| format!("<argument><name>{name}</name><direction>in</direction></argument>");
        format!("<action><name>{name}</name><argumentList>{}</argumentList></action>", arguments.iter().map(argument).collect::<String>())
    };
    let key = ["NewRemoteHost", "NewExternalPort", "NewProtocol"];
    let rest = ["NewInternalPort", "NewInternalClient", "NewEnabled", "NewPortMappingDescription", "NewLeaseDuration"];
    let list = [("GetExternalIPAddress", &[][..]), ("AddPortMapping", &[&key[..], &rest[..]].concat()), ("DeletePortMapping", &key)];
    format!(
        "<?xml version=\"1.0\"?><scpd xmlns=\"urn:schemas-upnp-org:service-1-0\"><actionList>{}</actionList></scpd>",
        list.map(action).concat()
    )
}

fn envelope(body: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body>{body}</s:Body></s:Envelope>"
    )
}

fn fault(code: u16) -> String {
    format!(
        "<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail>\
         <UPnPError xmlns=\"urn:schemas-upnp-org:control-1-0\"><errorCode>{code}</errorCode><errorDescription>no</errorDescription>\
         </UPnPError></detail></s:Fault>"
    )
}
