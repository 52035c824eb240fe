//! What the newspaper is put together from, in English and Belarusian: invented places and people,
//! headlines and sentences. It is a table and holds no logic.
//!
//! Slots: `{p}` is the place (in Belarusian `{loc}`, after "in", and `{gen}`, "of"), `{n}` a number
//! of two digits and `{m}` one of three, both round, so that Belarusian nouns keep one form,
//! `{who}` a person.

/// A place in English, and in Belarusian as it stands after "in" and after "of".
pub(super) struct Place {
    pub(super) en: &'static str,
    pub(super) loc: &'static str,
    pub(super) gen_: &'static str,
}

/// A text in both languages.
pub(super) struct Both {
    pub(super) en: &'static str,
    pub(super) be: &'static str,
}

/// A part of the newspaper.
pub(super) struct Section {
    pub(super) slug: &'static str,
    pub(super) name: Both,
    pub(super) headlines: [Both; 7],
    pub(super) details: [Both; 4],
}

const fn both(en: &'static str, be: &'static str) -> Both {
    Both { en, be }
}

const fn place(en: &'static str, loc: &'static str, gen_: &'static str) -> Place {
    Place { en, loc, gen_ }
}

pub(super) const PLACES: [Place; 12] = [
    place("Lipniki", "Ліпніках", "Ліпнікаў"),
    place("Verbava", "Вербаве", "Вербава"),
    place("Zarechcha", "Зарэччы", "Зарэчча"),
    place("Krynitsa", "Крыніцы", "Крыніцы"),
    place("Dubrova", "Дуброве", "Дубровы"),
    place("Aziorki", "Азёрках", "Азёрак"),
    place("Kamenka", "Каменцы", "Каменкі"),
    place("Baravoye", "Баравым", "Баравога"),
    place("Palyanka", "Палянцы", "Палянкі"),
    place("Staraya Huta", "Старой Гуце", "Старой Гуты"),
    place("Buslava", "Буславе", "Буслава"),
    place("Vysokaye", "Высокім", "Высокага"),
];

pub(super) const PEOPLE: [Both; 10] = [
    both("Alena Hryn", "Алена Грынь"),
    both("Mikola Zhuk", "Мікола Жук"),
    both("Volha Lis", "Вольга Ліс"),
    both("Taras Kaval", "Тарас Каваль"),
    both("Hanna Bor", "Ганна Бор"),
    both("Piotr Sad", "Пётр Сад"),
    both("Maryna Rak", "Марына Рак"),
    both("Ales Vir", "Алесь Вір"),
    both("Iryna Klon", "Ірына Клён"),
    both("Stsiapan Mech", "Сцяпан Меч"),
];

pub(super) const SECTIONS: [Section; 6] = [
    Section {
        slug: "city",
        name: both("City", "Горад"),
        headlines: [
            both("New lamps light the bridge in {p}", "У {loc} запалілі новыя ліхтары на мосце"),
            both(
                "Library of {p} keeps its reading room open late",
                "Бібліятэка {gen} працуе цяпер да позняга вечара",
            ),
            both(
                "Market square of {p} to be paved with old stone",
                "Рынкавую плошчу {gen} выкладуць старым каменем",
            ),
            both("Trolleybus to reach the edge of {p}", "Тралейбус даедзе да ўскраіны {gen}"),
            both(
                "Residents of {p} choose the colour of their roofs",
                "Жыхары {gen} выбіраюць колер дахаў",
            ),
            both(
                "Tower clock of {p} runs again after repairs",
                "Гадзіннік на вежы {gen} зноў ідзе пасля рамонту",
            ),
            both(
                "Parents build a wooden playground in {p}",
                "Бацькі збудавалі драўляную пляцоўку для дзяцей у {loc}",
            ),
        ],
        details: [
            both(
                "The work took {n} days and was done by a crew from the same street.",
                "Праца заняла {n} дзён, і зрабілі яе майстры з той самай вуліцы.",
            ),
            both(
                "The council of {p} set aside money for it two years ago.",
                "Савет {gen} адклаў на гэта грошы два гады таму.",
            ),
            both(
                "Buses will stop at the corner of the school until the end of the month.",
                "Да канца месяца аўтобусы будуць спыняцца на рагу каля школы.",
            ),
            both(
                "Drawings of the plan hang in the hall of the town house.",
                "Малюнкі праекта вісяць у зале гарадской ратушы.",
            ),
        ],
    },
    Section {
        slug: "economy",
        name: both("Economy", "Гаспадарка"),
        headlines: [
            both(
                "Dairy in {p} doubles its cheese cellar",
                "Малочны завод у {loc} павялічыў сырны склеп удвая",
            ),
            both("Flax growers of {p} report a good year", "Льнаводы {gen} кажуць пра добры год"),
            both(
                "Young bakers take over the old mill in {p}",
                "Маладыя пекары ўзялі стары млын у {loc}",
            ),
            both(
                "Furniture makers of {p} look for apprentices",
                "Мэбельшчыкі {gen} шукаюць вучняў",
            ),
            both("Weekly fair returns to {p}", "У {loc} зноў ладзяць штотыднёвы кірмаш"),
            both(
                "Workshops of {p} put solar panels on their roofs",
                "Майстэрні {gen} ставяць сонечныя панэлі на дахах",
            ),
            both(
                "Repair café in {p} saves {n} kettles from the tip",
                "Рамонтная кавярня ў {loc} выратавала {n} чайнікаў",
            ),
        ],
        details: [
            both(
                "The business employs {n} people and has never had a debt.",
                "На прадпрыемстве працуе {n} чалавек, і даўгоў яно ніколі не мела.",
            ),
            both(
                "About {m} tonnes left the stores of {p} since spring.",
                "Са складоў {gen} з вясны вывезлі каля {m} тон.",
            ),
            both(
                "Prices at the gate stayed as they were last season.",
                "Адпускныя цэны засталіся такімі, як летась.",
            ),
            both(
                "The next delivery is expected before the end of the week.",
                "Наступную пастаўку чакаюць да канца тыдня.",
            ),
        ],
    },
    Section {
        slug: "science",
        name: both("Science", "Навука"),
        headlines: [
            both("Pupils in {p} measure the night sky", "Вучні ў {loc} вымяраюць начное неба"),
            both("Old maps of {p} go online", "Старыя мапы {gen} выклалі ў сеціва"),
            both(
                "Weather balloon from {p} rises to 30 kilometres",
                "Метэазонд, запушчаны ў {loc}, падняўся на 30 кіламетраў",
            ),
            both("Botanists count rare orchids in {p}", "Батанікі палічылі рэдкія архідэі ў {loc}"),
            both(
                "Archaeologists find a medieval well in {p}",
                "Археолагі знайшлі сярэднявечную студню ў {loc}",
            ),
            both(
                "Young programmers of {p} win with a bus timetable",
                "Юныя праграмісты {gen} перамаглі з раскладам аўтобусаў",
            ),
            both("Bees of {p} carry tiny labels", "Пчолы {gen} носяць маленькія меткі"),
        ],
        details: [
            both(
                "The data of {m} observations can be had by anyone who asks.",
                "Даныя {m} назіранняў можа атрымаць кожны, хто папросіць.",
            ),
            both(
                "Instruments were lent by the university and calibrated in {p}.",
                "Прылады пазычыў універсітэт, а наладзілі іх у {loc}.",
            ),
            both(
                "A first paper on the findings is being prepared.",
                "Першы артыкул пра вынікі ўжо рыхтуецца.",
            ),
            both(
                "The team repeated every measurement three times.",
                "Кожнае вымярэнне каманда паўтарыла тройчы.",
            ),
        ],
    },
    Section {
        slug: "culture",
        name: both("Culture", "Культура"),
        headlines: [
            both(
                "Choir of {p} sings songs found in an attic",
                "Хор {gen} спявае песні, знойдзеныя на гарышчы",
            ),
            both(
                "Puppet theatre of {p} turns forty",
                "Лялечнаму тэатру {gen} споўнілася сорак гадоў",
            ),
            both(
                "Weavers in {p} open their looms to visitors",
                "Ткачыхі ў {loc} запрашаюць гасцей да кроснаў",
            ),
            both("Film club of {p} shows silent comedies", "Кінаклуб {gen} паказвае нямыя камедыі"),
            both(
                "A hundred postcards of {p} in one exhibition",
                "Сто паштовак з відамі {gen} на адной выставе",
            ),
            both(
                "Brass band of {p} plays on the river bank",
                "Духавы аркестр {gen} іграе на беразе ракі",
            ),
            both("Poetry evenings return to {p}", "У {loc} зноў чытаюць вершы ўвечары"),
        ],
        details: [
            both(
                "The hall has {n} seats, and all were taken on the first evening.",
                "У зале {n} месцаў, і ў першы вечар усе былі занятыя.",
            ),
            both(
                "Entrance is free for pupils and for those over sixty.",
                "Для вучняў і тых, каму за шэсцьдзясят, уваход вольны.",
            ),
            both(
                "The oldest piece shown in {p} is two hundred years old.",
                "Найстарэйшай рэчы, якую паказваюць у {loc}, дзвесце гадоў.",
            ),
            both(
                "A recording will be kept in the county archive.",
                "Запіс захаваюць у павятовым архіве.",
            ),
        ],
    },
    Section {
        slug: "sport",
        name: both("Sport", "Спорт"),
        headlines: [
            both("Rowers of {p} train on calmer water", "Весляры {gen} трэніруюцца на ціхай вадзе"),
            both(
                "Chess club of {p} beats its own record",
                "Шахматны клуб {gen} перасягнуў свой рэкорд",
            ),
            both("Night run in {p} draws {n} teams", "Начны забег у {loc} сабраў {n} каманд"),
            both("Ice rink of {p} stays open in summer", "Лядовы каток {gen} адкрыты і ўлетку"),
            both(
                "Volleyball team of {p} goes to the final",
                "Валейбольная каманда {gen} выйшла ў фінал",
            ),
            both(
                "Cyclists mark a new route around {p}",
                "Веласіпедысты пазначылі новы маршрут вакол {gen}",
            ),
            both("School league begins in {p}", "У {loc} пачалася школьная ліга"),
        ],
        details: [
            both(
                "The youngest to take part is eleven, the oldest seventy-two.",
                "Наймалодшаму ўдзельніку адзінаццаць гадоў, найстарэйшаму семдзесят два.",
            ),
            both(
                "About {m} people watched from the stands of {p}.",
                "З трыбун {gen} глядзелі каля {m} чалавек.",
            ),
            both(
                "The trainer spoke of patience more than of victory.",
                "Трэнер больш казаў пра цярплівасць, чым пра перамогу.",
            ),
            both(
                "The return match is set for the last Sunday of the month.",
                "Матч у адказ прызначаны на апошнюю нядзелю месяца.",
            ),
        ],
    },
    Section {
        slug: "nature",
        name: both("Nature", "Прырода"),
        headlines: [
            both("Storks already nest in {p}", "Буслы ўжо гняздуюцца ў {loc}"),
            both("Volunteers clean the river in {p}", "Валанцёры ачысцілі раку ў {loc}"),
            both("Old oaks of {p} under protection", "Старыя дубы {gen} бяруць пад ахову"),
            both("Night frost spares the orchards of {p}", "Начныя замаразкі абышлі сады {gen}"),
            both("Beavers build a dam near {p}", "Бабры збудавалі плаціну каля {gen}"),
            both("Bog trail near {p} open again", "Балотная сцежка каля {gen} зноў адкрыта"),
            both(
                "Mushroom season starts in the woods of {p}",
                "У лясах {gen} пачаўся сезон грыбоў",
            ),
        ],
        details: [
            both(
                "Foresters counted {n} nests along the river.",
                "Леснікі налічылі ўздоўж ракі {n} гнёздаў.",
            ),
            both(
                "The water near {p} stands higher than a year ago.",
                "Вада каля {gen} стаіць вышэй, чым год таму.",
            ),
            both(
                "Visitors are asked to keep to the planks and to leave dogs at home.",
                "Гасцей просяць не сыходзіць з насцілу і пакідаць сабак дома.",
            ),
            both("A dry and mild week is forecast.", "Прагноз абяцае сухі і мяккі тыдзень."),
        ],
    },
];

/// How an article begins.
pub(super) const OPENINGS: [Both; 5] = [
    both(
        "It was talked about for a long time, and this week it came true.",
        "Пра гэта доўга гаварылі, і на гэтым тыдні яно спраўдзілася.",
    ),
    both(
        "The news from {p} was short, but many had waited for it.",
        "Навіна была кароткая, але ў {loc} яе чакалі многія.",
    ),
    both(
        "Early in the morning the first visitors were already there.",
        "Рана раніцай там ужо былі першыя госці.",
    ),
    both(
        "Three years ago hardly anyone in {p} believed in the idea.",
        "Тры гады таму ў {loc} мала хто верыў у гэтую задуму.",
    ),
    both(
        "What began as a talk among neighbours has become a matter for all.",
        "Тое, што пачалося з размовы суседзяў, стала агульнай справай.",
    ),
];

/// Sentences that any article may hold.
pub(super) const COMMON: [Both; 20] = [
    both(
        "“We wanted to do it properly or not at all,” says {who}.",
        "«Мы хацелі зрабіць гэта як след або не рабіць зусім», — тлумачыць {who}.",
    ),
    both(
        "“People stop, ask questions, and then they stay to help,” says {who}.",
        "«Людзі спыняюцца, пытаюцца, а потым застаюцца дапамагаць», — кажа {who}.",
    ),
    both(
        "“Nobody expected that so many would come,” says {who}.",
        "«Ніхто не думаў, што прыйдзе столькі людзей», — кажа {who}.",
    ),
    both(
        "“Next year we shall see whether we were right,” says {who}.",
        "«Праз год пабачым, ці мелі мы рацыю», — кажа {who}.",
    ),
    both(
        "More than {m} people signed the first letter about it.",
        "Першы ліст пра гэта падпісалі больш за {m} чалавек.",
    ),
    both(
        "The last such event in {p} was {n} years ago.",
        "Апошні раз такое было ў {loc} {n} гадоў таму.",
    ),
    both(
        "Photographs from those days are kept in the local museum.",
        "Здымкі тых дзён захоўваюцца ў мясцовым музеі.",
    ),
    both("Neighbouring towns have asked for advice.", "Суседнія мястэчкі ўжо просяць парады."),
    both(
        "The cost was shared between the town and its people.",
        "Выдаткі падзялілі паміж сабой мястэчка і яго жыхары.",
    ),
    both(
        "A small exhibition near the station tells how it came about.",
        "Невялікая выстава каля вакзала расказвае, як усё пачыналася.",
    ),
    both(
        "Pupils of the local school took part from the start.",
        "Вучні мясцовай школы ўдзельнічаюць ад самага пачатку.",
    ),
    both(
        "There were doubts as well: some would have spent the money on roads.",
        "Былі і сумневы: хтосьці аддаў бы гэтыя грошы на дарогі.",
    ),
    both(
        "Those who disagree were heard at two open meetings in {p}.",
        "Тых, хто не згодны, выслухалі на двух адкрытых сходах у {loc}.",
    ),
    both(
        "The accounts are open to anyone and hang at the notice board.",
        "Справаздача адкрытая для ўсіх і вісіць на дошцы аб'яў.",
    ),
    both(
        "In the evening there was music, tea and a long conversation.",
        "Увечары былі музыка, гарбата і доўгая размова.",
    ),
    both(
        "The weather helped: it rained only at night.",
        "Надвор'е спрыяла: дождж ішоў толькі ўначы.",
    ),
    both(
        "For the elderly a bus went from the square every {n} minutes.",
        "Для старэйшых ад плошчы кожныя {n} хвілін хадзіў аўтобус.",
    ),
    both(
        "Whoever wants to help can write to the editors.",
        "Хто хоча дапамагчы, можа напісаць у рэдакцыю.",
    ),
    both("A second step is planned for autumn, if {p} agrees.", "Другі крок плануюць на восень."),
    both("We shall report on how it goes on.", "Мы раскажам, што будзе далей."),
];
