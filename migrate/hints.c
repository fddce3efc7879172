/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a name says.
 *
 * A name is cut into words at punctuation, digits and changes of case ("BootImage2" = boot, image), each word is folded and loses its
 * accents, and all without what separates them is one more word ("bootimage"). Chinese has no blanks: there, and for words of five letters
 * and more, a piece of the name is enough. A word of the list "not" takes the hint away: ServerMAC is not the client's MAC, ImageName not the
 * client's name.
 *
 * Lists are in folded form without accents, words separated by blanks. Language by line: English and abbreviations, Chinese (simplified,
 * traditional), Russian, Indonesian, Portuguese and Spanish, Vietnamese.
 */
#include "migrate/hints.h"

#include <stdio.h>
#include <string.h>

#include "core/util.h"
#include "migrate/text.h"

struct words {
    const char *yes, *not ;
};

static const struct words lists[HINT_COUNT] = {
    [HINT_MAC] = {"mac macaddr macaddress hwaddr hwaddress hardwareaddress ethaddr ethernet ethernetaddress physical "
                  "physicaladdress nic "
                  "nicmac netcard lanaddress 网卡 网卡地址 物理地址 mac地址 网卡号 網卡 網卡地址 實體位址 mac位址 "
                  "мак макадрес физическииадрес аппаратныиадрес сетеваякарта alamatmac alamatfisik kartujaringan "
                  "enderecomac enderecofisico "
                  "placaderede direccionmac direccionfisica tarjetadered diachimac diachivatly cardmang",
                  "server switch router gateway serverip uefi second secondary 服务器 сервер servidor"},
    [HINT_NAME] = {"name hostname computername computer pc pcname workstation station host terminal machine "
                   "machinename client clientname "
                   "node seat device devicename computerid pcno pcid 机器名 计算机名 主机名 客户机 客户机名 工作站 "
                   "终端 机器 机号 机器号 电脑名 名称 "
                   "電腦名稱 主機名稱 工作站名稱 機器名 機號 用戶端 電腦 имя имякомпьютера компьютер имяхоста "
                   "рабочаястанция клиент узел название "
                   "nama namakomputer namapc komputer klien nome nomedocomputador computador estacao maquina cliente "
                   "nombre nombreequipo "
                   "equipo ordenador estacion computadora ten tenmay may maytram tenmaytinh tenmaytram",
                   "image file user group disk option server domain company vendor display os path product 镜像 分组 "
                   "用户 服务器 文件"},
    [HINT_IP] = {"ip ipaddr ipaddress ipv4 address addr netaddress inet 地址 ip地址 ip位址 位址 адрес ipадрес аипи "
                 "alamat alamatip endereco "
                 "enderecoip direccion direccionip diachi diachiip",
                 "mac server gateway router mask dns broadcast street mail hw hardware physical 服务器 网关 子网 物理 "
                 "网卡 сервер маска"},
    [HINT_NETMASK] = {"mask netmask subnet subnetmask ipmask 子网掩码 掩码 子網路遮罩 子網遮罩 遮罩 маска маскаподсети "
                      "mascara mascaradesubrede "
                      "mascarasubred mascaradered subnetmasknya matna matnamang",
                      ""},
    [HINT_GATEWAY] = {"gateway gw router defaultgateway defgw defaultroute 网关 默认网关 閘道 預設閘道 шлюз "
                      "основноишлюз роутер gerbang "
                      "gatewaydefault passarela puertadeenlace puertaenlace enlace roteador enrutador congmacdinh cong",
                      ""},
    [HINT_DNS] = {"dns dns1 dns2 nameserver nameservers dnsserver dnsservers domainnameservers primarydns secondarydns "
                  "首选dns 备用dns 备选dns "
                  "域名服务器 慣用dns днс днссервер",
                  "suffix domain"},
    [HINT_GROUP] = {"group grp groupid groupname category collection zone room area class department dept 分组 组 "
                    "组名 类别 分类 区域 部门 群組 "
                    "組別 分類 區域 группа категория зона комната зал отдел grup kelompok ruangan kategori grupo "
                    "categoria sala setor nhom "
                    "khuvuc phong",
                    "disk boot nic image cache workgroup"},
    [HINT_COMMENT] = {"comment comments note notes remark remarks description descr memo info annotation 备注 说明 "
                      "注释 描述 備註 說明 註解 "
                      "комментарии примечание описание заметка catatan keterangan deskripsi comentario comentarios "
                      "observacao obs nota "
                      "notas descricao observacion observaciones descripcion ghichu mota chuthich",
                      ""},
    [HINT_ENABLED] = {"enabled enable active isenabled isactive inuse allowed allowboot use used on 启用 激活 可用 "
                      "有效 是否启用 啟用 使用 включен "
                      "включено включен активен активно разрешен aktif diaktifkan ativo ativado habilitado activo "
                      "activado kichhoat batlen",
                      "super"},
    [HINT_DISABLED] =
        {"disabled disable inactive isdisabled deactivated blocked banned forbidden notinuse 禁用 停用 无效 是否禁用 "
         "關閉 отключен "
         "отключено выключен заблокирован неактивен nonaktif dinonaktifkan desativado desabilitado inativo bloqueado "
         "deshabilitado desactivado inactivo vohieu",
         ""},
    [HINT_IMAGE] = {"image img disk vhd vhdx boot bootimage bootdisk imagefile imagepath diskfile diskimage vdisk "
                    "master system systemdisk os "
                    "imageid diskid imagename 镜像 映像 系统盘 磁盘 镜像文件 镜像路径 启动盘 虚拟盘 映像檔 映像檔案 "
                    "系統碟 磁碟 鏡像 образ диск образдиска "
                    "загрузка системныидиск citra gambar berkascitra cakram imagem imagemdisco disco discodesistema "
                    "imagen imagendisco "
                    "anhdia dia tepanh oia odia odiahethong",
                    "writeback cache log backup temp size type mode date server 回写 缓存 日志 大小"},
    [HINT_IMAGE_NAME] = {"image images img bootimage imagename vdisk imagefile diskimage 镜像 映像 镜像名 镜像名称 "
                         "镜像文件 映像檔 образ citra imagem imagen "
                         "anhdia",
                         "writeback cache size type"},
    [HINT_DATA] = {"data datadisk game games gamedisk gameimage disk2 second secondary extra 数据盘 游戏盘 游戏 数据 "
                   "資料碟 遊戲碟 遊戲 игры игра "
                   "игровои игровоидиск данные permainan gim diskdata jogo jogos dados discodejogos juego juegos datos "
                   "discodejuegos "
                   "tro choi trochoi dulieu odiagame",
                   "date database"},
    [HINT_KEY] = {"id no number num nr key index idx serial uid recid autoid 编号 序号 号码 編號 序號 номер ид код "
                  "nomor numero codigo so ma "
                  "sothutu clientid pcid stationid computerid machineid",
                  "group image disk order boot 分组 镜像"},
    [HINT_ORDER] = {"order bootorder seq sequence sort sortorder position pos priority prio slot index rank 顺序 排序 "
                    "次序 序号 順序 порядок "
                    "очередь urutan ordem orden posicao posicion thutu",
                    ""},
    [HINT_LABEL] = {"name label title caption imagename groupname diskname 名称 名字 标题 组名 镜像名 名稱 標題 имя "
                    "название метка nama judul nome "
                    "titulo nombre ten tieude",
                    "path file"},
    [HINT_CLIENT] = {"client clients computer computers pc pcs workstation workstations station stations host hosts "
                     "terminal terminals machine "
                     "machines leases reservations 客户机 工作站 终端 机器 电脑 計算機 用戶端 電腦 клиент клиенты "
                     "компьютеры станции klien komputer "
                     "clientes computadores maquinas estacoes equipos ordenadores estaciones may maytram",
                     "log image"},
    [HINT_OLD] = {"bak backup old copy temp tmp log logs history hist archive archived deleted trash save test 备份 "
                  "日志 历史 旧 副本 临时 備份 日誌 "
                  "歷史 舊 резерв копия журнал история архив старые cadangan riwayat salinan lama arquivo historico "
                  "antigo registro copia "
                  "antiguo respaldo saoluu nhatky lichsu cu",
                  ""},
    [HINT_CODE] = {"code option optioncode optionid number id tag 代码 选项 编号 選項 代碼 код опция kode opsi codigo "
                   "opcao opcion ma",
                   "name value"},
    [HINT_VALUE] =
        {"value val data optionvalue content setting 值 数据 内容 數值 內容 значение данные nilai isi valor giatri",
         "name code type"},
    [HINT_DOMAIN] = {"domain domainname dnsdomain dnssuffix suffix 域 域名 網域 домен dominio dominiodns tenmien",
                     "server servers"},
    [HINT_RANGE_FIRST] = {"rangefirst rangestart startip ipstart firstip poolstart beginip ipbegin ipfrom startaddress "
                          "起始ip 开始ip 起始地址 "
                          "開始ip начальныиip ipawal ipinicial",
                          ""},
    [HINT_RANGE_LAST] = {"rangelast rangeend endip ipend lastip poolend ipto endaddress 结束ip 终止ip 结束地址 結束ip "
                         "конечныиip ipakhir ipfinal",
                         ""},
    [HINT_SITE] = {"dhcp dhcpoptions options option setting settings config configuration global globals server system "
                   "network param params "
                   "配置 设置 参数 选项 设定 設定 參數 選項 全局 настроики параметры опции pengaturan konfigurasi opsi "
                   "configuracao configuracoes "
                   "opcoes configuracion ajustes opciones caidat cauhinh",
                   "log"},
    [HINT_OTHER_SIZE_OR_TYPE] =
        {"size mb gb kb bytes type kind mode cache count version vlan port speed level flags flag time date priority "
         "group groupid 大小 类型 缓存 模式 分组 размер тип ukuran tipe tamanho tipo tamano loai",
         ""},
    [HINT_SIZE] = {"size sizegb sizemb capacity bytes 大小 容量 размер ukuran tamanho tamano",
                   "cache block sector 缓存"},
};

#define NAME_WORDS 16
#define WORD_BYTES 64

struct name {
    char words[NAME_WORDS][WORD_BYTES], all[256];
    unsigned count;
};

static bool is_upper(char ch)
{
    return ch >= 'A' && ch <= 'Z';
}

static bool is_lower(char ch)
{
    return ch >= 'a' && ch <= 'z';
}

static bool is_word_char(char ch)
{
    return is_upper(ch) || is_lower(ch) || (unsigned char)ch >= 0x80;
}

/* "MACAddress" ends a word before the last of several capitals, "hwAddr" before a capital behind a small letter. */
static bool begins_word(const char *p)
{
    return is_upper(p[0]) && (is_lower(p[-1]) || (is_upper(p[-1]) && is_lower(p[1])));
}

static void add_word(struct name *n, const char *p, size_t len)
{
    char raw[WORD_BYTES];
    if (len == 0 || len >= sizeof(raw) || n->count == NAME_WORDS)
        return;
    memcpy(raw, p, len);
    raw[len] = 0;
    text_plain(raw, n->words[n->count++], WORD_BYTES);
}

static void split(const char *text, struct name *n)
{
    char wide[256], plain[256];
    n->count = 0;
    text_nfkc(text, strlen(text), wide, sizeof(wide));
    const char *begin = wide, *p = wide;
    for (; *p; p++) {
        bool is_word = is_word_char(*p);
        if (is_word && !(p > begin && begins_word(p)))
            continue;
        add_word(n, begin, (size_t)(p - begin));
        begin = is_word ? p : p + 1;
    }
    add_word(n, begin, (size_t)(p - begin));
    text_plain(wide, plain, sizeof(plain));
    size_t k = 0;
    for (p = plain; *p; p++)
        if (is_word_char(*p) || (*p >= '0' && *p <= '9'))
            n->all[k++] = *p;
    n->all[k] = 0;
}

/* Long enough to mean something as a piece of a name. */
static bool is_piece(const char *word, size_t len)
{
    return (unsigned char)*word >= 0xe3 ? len >= 6 : len >= 5 && (unsigned char)*word < 0x80;
}

static double match(const char *word, size_t len, const struct name *n)
{
    if (strlen(n->all) == len && memcmp(n->all, word, len) == 0)
        return HINT_MAX;
    for (unsigned i = 0; i < n->count; i++)
        if (strlen(n->words[i]) == len && memcmp(n->words[i], word, len) == 0)
            return 0.15;
    return is_piece(word, len) && memmem(n->all, strlen(n->all), word, len) ? 0.1 : 0;
}

static double best(const char *list, const struct name *n)
{
    double found = 0;
    while (*list) {
        size_t len = strcspn(list, " ");
        double m = len ? match(list, len, n) : 0;
        found = MAX(found, m);
        list += len + (list[len] == ' ');
    }
    return found;
}

double hint_of(enum hint h, const char *text)
{
    struct name n;
    split(text, &n);
    double yes = best(lists[h].yes, &n);
    return yes > 0 && yes < HINT_MAX && best(lists[h].not, &n) >= 0.1 ? 0 : yes;
}
