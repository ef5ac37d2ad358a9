//! Icons, drawn inline: lines on a grid of 24.

use dioxus::prelude::*;

/// Every icon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Glyph {
    Alert,
    Battery,
    Bell,
    Bolt,
    Chart,
    Check,
    ChevronDown,
    ChevronUp,
    Chip,
    Close,
    Cluster,
    Copy,
    Device,
    Download,
    Edit,
    Key,
    List,
    Lock,
    Logout,
    Menu,
    Monitor,
    Moon,
    More,
    Network,
    Overview,
    Package,
    Pause,
    Play,
    Plus,
    Power,
    Refresh,
    Restore,
    Save,
    Search,
    Send,
    Settings,
    Storage,
    Sun,
    Tag,
    Terminal,
    Trash,
    Upload,
    User,
}

impl Glyph {
    fn path(self) -> &'static str {
        match self {
            Self::Alert => "M12 9v4m0 4h.01M10.3 4 2.6 17.3A2 2 0 0 0 4.3 20.3h15.4a2 2 0 0 0 1.7-3L13.7 4a2 2 0 0 0-3.4 0z",
            Self::Battery => "M4 7h13a2 2 0 0 1 2 2v6a2 2 0 0 1-2 2H4a2 2 0 0 1-2-2V9a2 2 0 0 1 2-2zm18 4v2M6 10v4",
            Self::Bell => "M6 17v-6a6 6 0 0 1 12 0v6l2 2H4zm4 5h4M12 5V3",
            Self::Bolt => "M13 2 4 14h7l-1 8 9-12h-7z",
            Self::Chart => "M3 12h4l3-8 4 16 3-8h4",
            Self::Check => "m5 12.5 4.5 4.5L19 7",
            Self::ChevronDown => "m6 9 6 6 6-6",
            Self::ChevronUp => "m6 15 6-6 6 6",
            Self::Chip => "M7 7h10v10H7zM10 3v4m4-4v4m-4 10v4m4-4v4M3 10h4m-4 4h4m10-4h4m-4 4h4",
            Self::Close => "M6 6l12 12M18 6 6 18",
            Self::Cluster => {
                "M12 3a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5zM5 15a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5zm14 0a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5zM10.7 7.7 6.3 15m7-7.3 4.4 7.3M7.5 17.5h9"
            }
            Self::Copy => "M9 9h10a1 1 0 0 1 1 1v10a1 1 0 0 1-1 1H9a1 1 0 0 1-1-1V10a1 1 0 0 1 1-1zM4 15V4a1 1 0 0 1 1-1h11",
            Self::Device => "M8 2h8a2 2 0 0 1 2 2v16a2 2 0 0 1-2 2H8a2 2 0 0 1-2-2V4a2 2 0 0 1 2-2zm3 17h2",
            Self::Download => "M12 3v12m-5-5 5 5 5-5M4 20h16",
            Self::Edit => "M4 20h4L19 9l-4-4L4 16zm9-13 4 4",
            Self::Key => "M7.5 11a5 5 0 1 0 0 10 5 5 0 0 0 0-10zm3.6 1.4L20.5 3m-4.8 4.8 3.2 3.2 2.6-2.6-3.2-3.2",
            Self::List => "M9 6h11M9 12h11M9 18h11M4 6h.01M4 12h.01M4 18h.01",
            Self::Lock => "M6 11h12a1 1 0 0 1 1 1v8H5v-8a1 1 0 0 1 1-1zm2.5 0V7.5a3.5 3.5 0 0 1 7 0V11",
            Self::Logout => "M9 4H5a1 1 0 0 0-1 1v14a1 1 0 0 0 1 1h4m6-4 4-4-4-4m4 4H9",
            Self::Menu => "M4 7h16M4 12h16M4 17h16",
            Self::Monitor => "M4 4h16a1 1 0 0 1 1 1v10a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V5a1 1 0 0 1 1-1zm4 16h8m-4-4v4",
            Self::Moon => "M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5z",
            Self::More => "M5 12h.01M12 12h.01M19 12h.01",
            Self::Network => "M2.5 9a14 14 0 0 1 19 0M6 12.7a9 9 0 0 1 12 0M9.2 16.2a4.3 4.3 0 0 1 5.6 0M12 20h.01",
            Self::Overview => "M4 4h7v9H4zm9 0h7v5h-7zm0 8h7v8h-7zm-9 4h7v4H4z",
            Self::Package => "m12 3 8 4.5v9L12 21l-8-4.5v-9zm0 9 8-4.5M12 12v9m0-9L4 7.5",
            Self::Pause => "M8 5v14m8-14v14",
            Self::Play => "M8 5v14l11-7z",
            Self::Plus => "M12 5v14M5 12h14",
            Self::Power => "M12 3v9M6.9 6.8a8 8 0 1 0 10.2 0",
            Self::Refresh => "M20 11a8 8 0 0 0-14.5-3.6L4 9m0-5v5h5m-5 4a8 8 0 0 0 14.5 3.6L20 15m0 5v-5h-5",
            Self::Restore => "M4 9h10a5 5 0 0 1 0 10H9M4 9l4-4M4 9l4 4",
            Self::Save => "M7 3h10a1 1 0 0 1 1 1v17l-6-4-6 4V4a1 1 0 0 1 1-1z",
            Self::Search => "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zm5 12 5 5",
            Self::Send => "m3.5 11.5 17-8-5.5 17-3.6-6.9zm7.9 2.1 9.1-10.1",
            Self::Settings => {
                "M4 7h9m4 0h3M4 17h3m4 0h9M15 4.5a2.5 2.5 0 1 1 0 5 2.5 2.5 0 0 1 0-5zm-6 10a2.5 2.5 0 1 1 0 5 2.5 2.5 0 0 1 0-5z"
            }
            Self::Storage => {
                "M12 3c4.4 0 8 1.3 8 3s-3.6 3-8 3-8-1.3-8-3 3.6-3 8-3zM4 6v6c0 1.7 3.6 3 8 3s8-1.3 8-3V6M4 12v6c0 1.7 3.6 3 8 3s8-1.3 8-3v-6"
            }
            Self::Sun => {
                "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v2m0 16v2M4.9 4.9l1.4 1.4m11.4 11.4 1.4 1.4M2 12h2m16 0h2M4.9 19.1l1.4-1.4M17.7 6.3l1.4-1.4"
            }
            Self::Tag => "M4 4h8l8.5 8.5a1 1 0 0 1 0 1.4l-6.6 6.6a1 1 0 0 1-1.4 0L4 12zm4 4h.01",
            Self::Terminal => "M4 5h16a1 1 0 0 1 1 1v12a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V6a1 1 0 0 1 1-1zm3 4.5L10 12l-3 2.5m6 .5h4",
            Self::Trash => "M4 7h16M10 11v6m4-6v6M6 7l1 13a1 1 0 0 0 1 1h8a1 1 0 0 0 1-1l1-13M9 7V4h6v3",
            Self::Upload => "M12 15V3m-5 5 5-5 5 5M4 20h16",
            Self::User => "M12 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM4.5 20.5a7.5 7.5 0 0 1 15 0",
        }
    }
}

/// An icon next to words that say the same; readers skip it.
pub(crate) fn icon(glyph: Glyph) -> Element {
    rsx! {
        svg { class: "icon", "aria-hidden": "true", view_box: "0 0 24 24", fill: "none", stroke: "currentColor",
            path { d: glyph.path() }
        }
    }
}
